"""The experts of a mixture on a GPU: three matrix products for each token, each by other weights.

A token goes to a few of many experts. Rows of tokens are listed expert by expert, the list of each
padded to whole blocks, and one kernel works through all blocks of all experts: it fetches the rows
where they are, multiplies with gate and up at once and applies the gate while the numbers are still
in registers. A second kernel multiplies with down. Nothing depends on how many tokens an expert
got until the device knows, so all of it can be recorded as a graph.

torch's grouped product, which transformers uses, reads weights at 2.9 of an H200's 4.8 TB/s in
decoding, and needs the rows sorted, gathered and scattered by passes of their own.
"""

import torch
import triton
from transformers.integrations.moe import ExpertsInterface

from deepseek_server.kernels import launcher
from deepseek_server.models import expert_kernels as kernels

NAME = "fused_experts"
# Rows of a block, by how many rows an expert has on average.
_BLOCKS = ((16, 16), (48, 32), (128, 64))
_LARGEST_BLOCK = 128


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
    divided = hidden % 128 == 0 and intermediate % 64 == 0
    return plain and divided and launcher.provide()


def warm(module: torch.nn.Module) -> None:
    """Compile or load every kernel that a model may need, so that no request waits for one.

    Args:
        module: the experts of a layer; those of the others are of the same shape.
    """
    count, hidden, _ = module.down_proj.shape
    weight = module.down_proj
    for most in (*(most for most, _ in _BLOCKS), _LARGEST_BLOCK + 1):
        x = torch.zeros(most * count, hidden, dtype=weight.dtype, device=weight.device)
        chosen = torch.arange(len(x), device=weight.device).remainder(count)[:, None]
        mixture(x, chosen, chosen.float(), module.gate_up_proj, weight)


def _forward(
    self: torch.nn.Module,
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    return mixture(hidden_states, top_k_index, top_k_weights, self.gate_up_proj, self.down_proj)


def mixture(
    hidden: torch.Tensor,
    experts: torch.Tensor,
    shares: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
) -> torch.Tensor:
    """The sum of a token's experts, each with its share.

    Args:
        hidden: [tokens, hidden].
        experts: which ones each token goes to: [tokens, k].
        shares: [tokens, k].
        gate_up: [experts, 2 * intermediate, hidden], gates first.
        down: [experts, hidden, intermediate].

    Returns:
        [tokens, hidden].
    """
    count, width = down.shape[0], down.shape[2]
    tokens, k = experts.shape
    rows = tokens * k
    block = next((size for most, size in _BLOCKS if rows <= most * count), _LARGEST_BLOCK)
    order, counts = _order(experts.reshape(-1), count, block)
    tiles = len(order) // block
    padded = triton.next_power_of_2(count)

    gated = hidden.new_empty(rows, width)
    wide = 128 if block >= 64 and width % 128 == 0 else 64
    kernels.gate_up[(tiles * (width // wide),)](
        hidden, gate_up, gated, order, counts, rows, k, hidden.shape[1], width, count,
        EXPERTS=padded, ROWS=block, COLUMNS=wide, DEPTH=64, GROUP=8,
        num_warps=8 if block >= 64 else 4, num_stages=3 if block >= 64 else 4,
    )  # fmt: skip
    spread = hidden.new_empty(rows, hidden.shape[1])
    kernels.down[(tiles * (hidden.shape[1] // 128),)](
        gated, down, shares.reshape(-1), spread, order, counts, rows, width, hidden.shape[1], count,
        EXPERTS=padded, ROWS=block, COLUMNS=128, DEPTH=64, GROUP=8,
        num_warps=8 if block >= 128 else 4, num_stages=4,
    )  # fmt: skip
    return spread.view(tokens, k, -1).sum(dim=1)


def _order(experts: torch.Tensor, count: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows expert by expert.

    Returns:
        Numbers of rows, each expert's padded to whole blocks with a number that is no row's, and
        how many rows each expert has: [experts].
    """
    rows = len(experts)
    # Every expert that has rows at all may leave one block unfilled.
    tiles = min(rows // block + count, rows)
    counts = torch.zeros(count, dtype=torch.int32, device=experts.device)
    ranks = torch.empty(rows, dtype=torch.int32, device=experts.device)
    order = torch.full((tiles * block,), rows, dtype=torch.int32, device=experts.device)
    size = 128
    grid = (triton.cdiv(rows, size),)
    kernels.rank[grid](experts, ranks, counts, rows, SIZE=size)
    kernels.place[grid](
        experts, ranks, counts, order, rows, count,
        EXPERTS=triton.next_power_of_2(count), ROWS=block, SIZE=size,
    )  # fmt: skip
    return order, counts
