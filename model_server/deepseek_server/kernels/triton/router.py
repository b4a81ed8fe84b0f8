"""Expert routing of DeepSeek-V3 and related models in one kernel.

The experts form groups. The score of a group is the sum of its two best experts; the best groups
are kept, and the best of their experts are selected (DeepSeek-AI, "DeepSeek-V3 Technical Report",
arXiv:2412.19437, sections 2.1.2 and 2.1.3: sigmoid scores, a bias that affects only the selection,
a limit on groups). In torch this takes a dozen kernels over a few hundred numbers, which in
decoding take longer than the experts' own products.
"""

import torch
import triton
import triton.language as tl


def route(
    logits: torch.Tensor,
    bias: torch.Tensor,
    *,
    k: int,
    groups: int,
    kept_groups: int,
    normalised: bool,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select each token's experts.

    Args:
        logits: [tokens, experts], float32; the number of experts is a power of two.
        bias: Bias of each expert: [experts], float32.
        k: Experts per token.
        groups: Number of groups of experts, a power of two.
        kept_groups: Number of groups from which a token's experts are selected.
        normalised: Whether the shares of a token are normalised to a sum of one before scaling.
        scaling: Factor of all shares.

    Returns:
        The shares, float32, and the experts, int64: [tokens, k] each, the best expert first.
    """
    tokens, experts = logits.shape
    shares = torch.empty(tokens, k, dtype=torch.float32, device=logits.device)
    chosen = torch.empty(tokens, k, dtype=torch.int64, device=logits.device)
    if tokens:
        _route[(tokens,)](
            logits, bias, shares, chosen, scaling,
            EXPERTS=experts, GROUPS=groups, KEPT=kept_groups, K=k,
            PADDED=triton.next_power_of_2(k), NORMALISED=normalised, num_warps=2,
        )  # fmt: skip
    return shares, chosen


@triton.jit
def _route(
    logits,
    bias,
    shares,
    chosen,
    scaling,
    EXPERTS: tl.constexpr,
    GROUPS: tl.constexpr,
    KEPT: tl.constexpr,
    K: tl.constexpr,
    PADDED: tl.constexpr,
    NORMALISED: tl.constexpr,
):
    """Route one token."""
    token = tl.program_id(0).to(tl.int64)
    SIZE: tl.constexpr = EXPERTS // GROUPS
    expert = tl.arange(0, EXPERTS)
    score = tl.sigmoid(tl.load(logits + token * EXPERTS + expert))
    ranked = tl.reshape(score + tl.load(bias + expert), (GROUPS, SIZE))
    if KEPT < GROUPS:
        inside = tl.arange(0, SIZE)[None, :]
        best = tl.argmax(ranked, 1)[:, None]
        others = tl.where(inside == best, float("-inf"), ranked)
        strength = tl.max(ranked, 1) + tl.max(others, 1)
        group = tl.arange(0, GROUPS)
        kept = group < 0
        for _ in tl.static_range(KEPT):
            kept = kept | (group == tl.argmax(tl.where(kept, float("-inf"), strength), 0))
        ranked = tl.where(kept[:, None], ranked, float("-inf"))
    left = tl.reshape(ranked, (EXPERTS,))
    place = tl.arange(0, PADDED)
    experts = tl.zeros((PADDED,), dtype=tl.int64)
    found = tl.zeros((PADDED,), dtype=tl.float32)
    for number in tl.static_range(K):
        best = tl.argmax(left, 0)
        here = expert == best
        experts = tl.where(place == number, best.to(tl.int64), experts)
        found = tl.where(place == number, tl.sum(tl.where(here, score, 0.0), 0), found)
        left = tl.where(here, float("-inf"), left)
    if NORMALISED:
        found = found / (tl.sum(found, 0) + 1e-20)
    tl.store(shares + token * K + place, found * scaling, mask=place < K)
    tl.store(chosen + token * K + place, experts, mask=place < K)
