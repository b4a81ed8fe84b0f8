"""Mixture-of-experts layers on a GPU with our own Triton kernels instead of transformers' ones."""

import torch
from transformers.integrations.moe import ExpertsInterface

from deepseek_server.kernels import launcher
from deepseek_server.kernels.triton.mixture import COLUMNS_HIDDEN, COLUMNS_INNER, mixture

NAME = "fused_experts"


def register() -> str:
    """Register the experts with transformers; return the name of the implementation."""
    ExpertsInterface.register(NAME, _forward)
    return NAME


def suitable(down: torch.Tensor) -> bool:
    """Return whether the kernels can run here and their tiles divide an expert's matrices.

    Args:
        down: this rank's part of the down projections: [experts, hidden, intermediate].
    """
    _, hidden, intermediate = down.shape
    plain = down.dtype in (torch.bfloat16, torch.float16)
    divided = hidden % COLUMNS_HIDDEN == 0 and intermediate % COLUMNS_INNER == 0
    return plain and divided and launcher.provide()


def _forward(
    self: torch.nn.Module,
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    return mixture(hidden_states, top_k_index, top_k_weights, self.gate_up_proj, self.down_proj)
