"""Tensor parallelism of transformers' model classes: reduction to one rank's part.

The classes of transformers compute with whatever rows and columns their matrices have. So it is
enough to replace the matrices by smaller ones, to correct the few numbers of heads that modules store,
and to reduce or gather their outputs: after attention's output projection, after each feed-forward
network, and after the last matrix.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from deepseek_server.distributed.process_group import Group
from deepseek_server.distributed.sharding import Part, part


def split(model: PreTrainedModel, group: Group) -> dict[str, Part]:
    """Reduce a model on the meta device to one rank's part.

    Args:
        model: A model on the `meta` device that passed `sharding.check`.
        group: The ranks that compute it.

    Returns:
        The part of every parameter, by its name.
    """
    tied = bool(model.config.tie_word_embeddings)
    parts = {}
    for name, parameter in list(model.named_parameters()):
        parts[name] = part(name, tuple(parameter.shape), group.rank, group.size, tied=tied)
        _shrink(model, name, parameter, parts[name])
    if group.size > 1:
        vocabulary = model.config.vocab_size
        for layer in model.model.layers:
            _split_heads(layer.self_attn, group.size)
            layer.self_attn.o_proj.register_forward_hook(_sum(group))
            layer.mlp.register_forward_hook(_sum(group))
        if not tied:
            model.lm_head.register_forward_hook(_join(group, vocabulary))
    return parts


def _shrink(model: nn.Module, name: str, whole: torch.Tensor, kept: Part) -> None:
    rows, columns = kept.shape
    shape = (rows,) if whole.ndim == 1 else (*whole.shape[:-2], rows, columns)
    if shape == tuple(whole.shape):
        return
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    smaller = nn.Parameter(whole.new_empty(shape), requires_grad=False)
    setattr(module, leaf, smaller)
    if leaf == "weight" and hasattr(module, "out_features"):
        module.out_features, module.in_features = rows, columns


def _split_heads(attention: nn.Module, size: int) -> None:
    # Grouped-query attention has no such attribute: it uses the shapes of its matrices.
    if hasattr(attention, "num_heads"):
        attention.num_heads //= size


def _sum(group: Group) -> Any:
    def add(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return group.all_reduce(output)

    return add


def _join(group: Group, vocabulary: int) -> Any:
    def join(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        # The last rank's part can extend beyond the vocabulary.
        return group.all_gather(output)[..., :vocabulary]

    return join
