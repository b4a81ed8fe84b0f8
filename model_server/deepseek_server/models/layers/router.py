"""The expert router of DeepSeek-V3 on a GPU: one matrix product and one kernel."""

from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from deepseek_server.kernels import launcher


def fuse(module: nn.Module) -> None:
    """Make a router run on the kernel, if the kernel supports it."""
    if isinstance(module, DeepseekV3TopkRouter) and _suitable(module):
        module.forward = MethodType(_forward, module)


def _suitable(module: Any) -> bool:
    """Return whether the kernel can run; it needs powers of two, as every published model has."""
    counts = (module.num_experts, module.num_group)
    return all(count & (count - 1) == 0 for count in counts) and launcher.provide()


def _forward(
    self: Any, hidden_states: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from deepseek_server.kernels.triton.router import route  # needs Triton

    rows = hidden_states.view(-1, self.hidden_dim)
    # As exact as a float32 product: products of 16-bit numbers are exact in float32, and sums are
    # accumulated in float32.
    logits = torch.mm(rows, self.weight.t(), out_dtype=torch.float32)
    shares, chosen = route(
        logits,
        self.e_score_correction_bias,
        k=self.top_k,
        groups=self.num_group,
        kept_groups=self.topk_group,
        normalised=self.norm_topk_prob,
        scaling=self.routed_scaling_factor,
    )
    return logits, shares, chosen
