"""Transformers' own model of the same files, as the reference for the server's results.

It is computed in float32, and once more in the served format, which shows the size of errors due to
the format: in bfloat16, and where the server multiplies in fp8, with the activations of those
products quantised to fp8 too, by the arithmetic of models/layers/fp8.py. A small difference moves some
activations to the other side of a rounding boundary, so two fp8 computations differ from each other
as much as from float32; therefore both are compared with float32.

A router with close scores turns a small error into another expert, and that into a larger error of a
token, for some tokens in any precision. So two figures are checked: the lower quartile of the tokens'
errors, for tokens with the same experts everywhere, and the root mean square of all.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from deepseek_server.kernels.triton.fp8_format import BLOCK
from deepseek_server.models.layers import fp8
from hack.gpu.slices import logits, unpacked
from hack.gpu.slices.logits import Rows

# Factor of the format's error; the server sums in another order.
ALLOWED = 1.5
# On a CPU the server computes in float32.
ALLOWED_IN_FLOAT32 = 1e-4
# A near tie among an indexer's scores can go either way, and another token is attended to.
ALLOWED_OF_CHOICE = 1e-3
# Bytes beside the weights: attention over the longest row, by torch's simplest implementation.
ROOM = 20 * 10**9


def compare(
    directory: Path, device: str, rows: Rows, ours: Sequence[torch.Tensor], packed: Sequence[str]
) -> dict[str, Any]:
    """Compare the server's logits with the reference's.

    Args:
        directory: The model.
        device: `cpu` or `cuda`.
        rows: Tokens.
        ours: The server's logits of each row.
        packed: The server's modules that multiply in eight bits, by their paths in the model.

    Returns:
        A check: the errors, and whether the server's are small enough.
    """
    needed = _bytes(directory) + ROOM
    if device == "cuda" and needed > torch.cuda.mem_get_info()[0]:
        return {
            "skipped": f"in float32 the model needs {needed / 1e9:.0f} GB, more than this GPU "
            "has: use fewer layers with --layers"
        }
    model = _load(directory, device)
    exact = logits.of_model(model, rows)
    round_inputs(model, packed, fp8.powers_of_two(unpacked.config(directory)))
    _shorten(model)
    rounded = logits.of_model(model, rows)
    found = logits.summary(logits.errors(ours, exact))
    of_format = logits.summary(logits.errors(rounded, exact))
    float32 = device == "cpu" and not packed
    chosen = hasattr(model.config, "index_topk")
    exactly = ALLOWED_OF_CHOICE if chosen else ALLOWED_IN_FLOAT32
    allowed = {
        figure: exactly if float32 else ALLOWED * of_format[figure] for figure in logits.JUDGED
    }
    return {
        "compared_with": f"{type(model).__name__} of transformers in float32",
        "prompts": [len(row) - logits.STEPS + 1 for row in rows],
        "error": found,
        "error_of_format": of_format,
        "allowed": allowed,
        "greedy": logits.greedy(ours, exact),
        "passed": all(found[figure] <= allowed[figure] for figure in allowed),
    }


def _bytes(directory: Path) -> int:
    """Return the bytes of the model in float32."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_config(directory))
    return 4 * sum(parameter.numel() for parameter in model.parameters())


def _config(directory: Path) -> Any:
    config = AutoConfig.from_pretrained(directory)
    config.quantization_config = None
    return config


def _load(directory: Path, device: str) -> PreTrainedModel:
    if unpacked.config(directory).get("quantization_config"):
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(_config(directory), dtype=torch.float32)
        unpacked.fill(model, directory)
    else:
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, device_map={"": device}
        )
    model.set_experts_implementation("eager")  # the simplest one: a loop
    return model.eval()


def _shorten(model: PreTrainedModel) -> None:
    """Cast weights to bfloat16, except those that the model's class keeps in float32."""
    kept = model._keep_in_fp32_modules_strict or ()
    for name, parameter in model.named_parameters():
        if not any(part in name for part in kept):
            parameter.data = parameter.data.to(torch.bfloat16)


def round_inputs(model: PreTrainedModel, packed: Sequence[str], powers: bool) -> None:
    """Make modules quantise and dequantise the inputs of their products.

    Args:
        model: The model.
        packed: Paths of the modules: projections and stacked experts.
        powers: Whether the scales of the inputs are powers of two.
    """
    for path in packed:
        module = model.get_submodule(path)
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(
                lambda _, inputs: (_rounded(inputs[0], powers), *inputs[1:])
            )
        else:
            module.forward = MethodType(_experts(powers), module)


def _rounded(values: torch.Tensor, powers: bool) -> torch.Tensor:
    flat = values.reshape(-1, values.shape[-1])
    numbers, factors = fp8.quantise(flat, powers)
    whole = numbers.float() * factors.repeat_interleave(BLOCK, 1)
    return whole.to(values.dtype).view(values.shape)


def _experts(powers: bool) -> Callable[..., torch.Tensor]:
    def forward(
        self: Any, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        out = torch.zeros_like(hidden)
        inputs = _rounded(hidden, powers)
        for expert in chosen.unique().tolist():
            token, place = torch.where(chosen == expert)
            gate, up = (inputs[token] @ self.gate_up_proj[expert].T).chunk(2, dim=-1)
            inner = _rounded(self.act_fn(gate) * up, powers)
            added = (inner @ self.down_proj[expert].T) * weights[token, place, None]
            out.index_add_(0, token, added.to(out.dtype))
        return out

    return forward
