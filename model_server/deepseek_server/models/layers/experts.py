"""The experts of a mixture on a GPU, by kernels of our own in the place of transformers' choices."""

import torch
from transformers.integrations.moe import ExpertsInterface

from deepseek_server.kernels import launcher
from deepseek_server.kernels.triton.mixture import COLUMNS_HIDDEN, COLUMNS_INNER, mixture

NAME = "fused_experts"


def register() -> str:
    """Make the experts known to transformers; returns the name of the implementation."""
    ExpertsInterface.register(NAME, _forward)
    return NAME


def suitable(down: torch.Tensor) -> bool:
    """Whether the kernels can run here, and their tiles divide an expert's matrices.

    Args:
        down: what this process has of the down projections: [experts, hidden, intermediate].
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
