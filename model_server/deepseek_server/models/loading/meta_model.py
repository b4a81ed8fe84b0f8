"""A model without its weights: the structure that a config.json describes.

It is built on torch's `meta` device, where tensors have shapes and types but no memory. So it can
be split and measured before memory is allocated, and memory is allocated once, on the device where
it is used.
"""

import logging

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from deepseek_server.errors import PermanentError
from deepseek_server.models.loading.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def build(checkpoint: Checkpoint, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a checkpoint on the meta device, in the types that it is served in.

    Raises:
        PermanentError: transformers cannot build a model from config.json.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True)
        config.quantization_config = None  # quantised weights are handled here, not by transformers
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except Exception as error:  # the library raises whatever its model code does
        log.debug("building the model failed", exc_info=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PermanentError(
            f"no {checkpoint.config['model_type']} model can be built from "
            f"{checkpoint.directory / 'config.json'} ({reason}): use the model's original "
            "config.json"
        ) from error
    _keep_in_float32(model, dtype)
    return model.eval().requires_grad_(False)


def stored_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors that a checkpoint has to contain: parameters and persistent buffers.

    Shared tensors (tied embeddings) have one name.
    """
    buffers = {
        f"{path}.{name}": buffer
        for path, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    }
    return dict(model.named_parameters()) | buffers


def size(model: PreTrainedModel) -> int:
    """Return the bytes of the model's weights."""
    return sum(tensor.nbytes for tensor in stored_tensors(model).values())


def allocate(model: PreTrainedModel, device: torch.device) -> None:
    """Allocate a model's tensors on a device; only those computed from its config get values."""
    model.to_empty(device=device)
    model.tie_weights()
    for module in model.modules():
        if module._non_persistent_buffers_set:
            _compute_buffers(module, device)


def _compute_buffers(module: nn.Module, device: torch.device) -> None:
    """Fill the tables of rotary embeddings from a new module of the same class."""
    computed = type(module)(config=module.config)
    for name in module._non_persistent_buffers_set:
        module._buffers[name] = computed._buffers[name].to(device)


def _keep_in_float32(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast tensors to float32 that lose too much precision in 16 bits.

    The model's class names them (see transformers' PreTrainedModel); those in
    `_keep_in_fp32_modules` lose precision in float16 only.
    """
    if dtype == torch.float32:
        return
    names = set(model._keep_in_fp32_modules_strict or ())
    if dtype == torch.float16:
        names |= set(model._keep_in_fp32_modules or ())
    for path, module in model.named_modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and any(kept in f"{path}.{name}" for kept in names):
                    tensor.data = tensor.data.float()
