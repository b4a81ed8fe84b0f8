"""Compares the kernels with the reference; run with TRITON_INTERPRET=1 where there is no GPU.

The interpreter rounds to fp8 wrongly where a value is rounded up to a power of two (126 to 64, not
128), so such values are ignored, and the experts get activations that the reference quantised.
"""

import json

import torch

from deepseek_server.kernels.triton import fp8 as kernels
from deepseek_server.kernels.triton.fp8_format import FP8
from deepseek_server.kernels.triton.rows import rows
from deepseek_server.models.layers import fp8


def quantise() -> None:
    values = torch.randn(5, 384)
    values[2, :128] = 0
    for powers in (False, True):
        numbers, factors = kernels.quantise(values, 8, powers)
        expected, scale = fp8.quantise(values, powers)
        assert factors.stride() == (1, 8)
        torch.testing.assert_close(factors[:5], scale)
        found, wanted = numbers[:5].float(), expected.float()
        power = wanted.abs().log2().frac() == 0
        assert power.float().mean() < 0.2
        assert torch.equal(found[~power], wanted[~power])
        assert not numbers[5:].float().any()


def _reference(
    values: torch.Tensor, tokens: int, powers: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    assert tokens == len(values)
    numbers, factors = fp8.quantise(values, powers)
    return numbers, factors.t().contiguous().t()


def experts() -> None:
    kernels.quantise = _reference
    count, outputs, columns = 4, 256, 384
    weight = torch.randn(count, outputs, columns).to(FP8)
    scale = torch.rand(count, fp8.blocks(outputs), fp8.blocks(columns))
    for tokens in (1, 3, 40):
        values = torch.randn(tokens, columns)
        chosen = torch.rand(tokens, count).argsort(1)[:, :2]
        listed, shares = rows(chosen, count), torch.rand(tokens, 2)
        out = kernels.multiply_experts(values, listed, 2, weight, scale, False)
        shared = kernels.multiply_experts(values, listed, 2, weight, scale, False, shares)
        torch.testing.assert_close(shared, out * shares.view(-1, 1))
        for row, expert in enumerate(chosen.flatten()):
            numbers, factors = fp8.quantise(values[row // 2][None])
            expected = fp8.multiply(numbers, factors, weight[expert], scale[expert])[0]
            torch.testing.assert_close(out[row], expected, atol=1e-3, rtol=1e-4)


if __name__ == "__main__":
    torch.manual_seed(0)
    checks = (quantise, experts)
    for check in checks:
        check()
    print(json.dumps([check.__name__ for check in checks]))
