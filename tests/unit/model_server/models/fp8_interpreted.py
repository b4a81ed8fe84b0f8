"""Compares the kernels with the reference; run with TRITON_INTERPRET=1 where there is no GPU.

The interpreter rounds to eight bits wrongly where a value is rounded up to a power of two (126 to
64, not 128), so such values are not looked at, and the experts get what the reference rounded.
"""

import json

import torch

from deepseek_server.models import fp8, fp8_kernels


def quantise() -> None:
    values = torch.randn(5, 384)
    values[2, :128] = 0
    for powers in (False, True):
        numbers, factors = fp8_kernels.quantise(values, 8, powers)
        expected, scale = fp8.quantise(values, powers)
        assert factors.stride() == (1, 8)
        torch.testing.assert_close(factors[:5], scale)
        found, wanted = numbers[:5].float(), expected.float()
        power = wanted.abs().log2().frac() == 0
        assert power.float().mean() < 0.2
        assert torch.equal(found[~power], wanted[~power])
        assert not numbers[5:].float().any()


def tiles() -> None:
    for tokens, top, experts in ((1, 2, 8), (40, 3, 4), (300, 2, 8), (7, 1, 16)):
        chosen = torch.rand(tokens, experts).argsort(1)[:, :top]
        chosen[: tokens // 2, 0] = 1  # one that gets more than the others
        plan = fp8_kernels.tiles(chosen, experts)
        seen = []
        for expert, first, end in zip(plan.experts, plan.first, plan.end, strict=True):
            if expert < experts:
                pairs = plan.order[first : min(first + plan.height, end)]
                assert len(pairs)
                assert (chosen.flatten()[pairs] == expert).all()
                seen.extend(pairs.tolist())
        assert sorted(seen) == list(range(tokens * top))


def _reference(
    values: torch.Tensor, tokens: int, powers: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    assert tokens == len(values)
    return fp8.quantise(values, powers)


def experts() -> None:
    fp8_kernels.quantise = _reference
    count, rows, columns = 4, 256, 384
    weight = torch.randn(count, rows, columns).to(fp8.FP8)
    scale = torch.rand(count, fp8.blocks(rows), fp8.blocks(columns))
    for tokens in (1, 3, 40):
        values = torch.randn(tokens, columns)
        chosen = torch.rand(tokens, count).argsort(1)[:, :2]
        plan = fp8_kernels.tiles(chosen, count)
        out = fp8_kernels.multiply_experts(values, plan.order // 2, plan, weight, scale, False)
        for place, pair in enumerate(plan.order.tolist()):
            token, expert = pair // 2, chosen.flatten()[pair]
            numbers, factors = fp8.quantise(values[token : token + 1])
            expected = fp8.multiply(numbers, factors, weight[expert], scale[expert])[0]
            torch.testing.assert_close(out[place], expected, atol=1e-3, rtol=1e-4)


if __name__ == "__main__":
    torch.manual_seed(0)
    checks = (quantise, tiles, experts)
    for check in checks:
        check()
    print(json.dumps([check.__name__ for check in checks]))
