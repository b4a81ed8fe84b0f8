"""The experts' kernels against plain products, in Triton's interpreter without a GPU."""

import os
import subprocess
import sys

import pytest
import torch

from deepseek_server.models.layers import experts

# In a separate process, because Triton selects its interpreter when it is imported.
PROGRAM = """
import torch
from deepseek_server.kernels.triton.mixture import mixture

torch.manual_seed(0)
for tokens, count, k, hidden, width in SHAPES:
    x = torch.randn(tokens, hidden)
    chosen = torch.rand(tokens, count).topk(k).indices
    shares = torch.rand(tokens, k)
    gate_up = torch.randn(count, 2 * width, hidden) / hidden**0.5
    down = torch.randn(count, hidden, width) / width**0.5
    gates, ups = torch.einsum("th,kwh->tkw", x, gate_up).chunk(2, dim=-1)
    every = torch.einsum("tkw,khw->tkh", torch.nn.functional.silu(gates) * ups, down)
    each = every.gather(1, chosen[..., None].expand(-1, -1, hidden))
    torch.testing.assert_close(
        mixture(x, chosen, shares, gate_up, down), (each * shares[..., None]).sum(1),
        atol=1e-4, rtol=1e-4,
    )
print("equal")
"""
# Blocks of 16, 32, 64 and 128 rows; numbers of experts that are not powers of two; experts without
# rows.
SHAPES = (
    (1, 8, 3, 128, 64),
    (7, 8, 3, 128, 64),
    (40, 3, 2, 256, 192),
    (90, 6, 2, 128, 128),
    (200, 3, 2, 128, 64),
)


def test_a_mixture_is_the_sum_of_its_experts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("SHAPES", repr(SHAPES))],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.parametrize(
    ("intermediate", "divided"),
    [
        (1408, True),  # V2-Lite
        (704, True),  # on two GPUs
        (352, False),  # on four: the last columns would be omitted
        (2048 // 8, True),  # V3 on eight
    ],
)
def test_kernels_are_used_for_sizes_that_their_tiles_divide(
    monkeypatch: pytest.MonkeyPatch, intermediate: int, divided: bool
) -> None:
    monkeypatch.setattr(experts.launcher, "provide", lambda: True)
    down = torch.empty(64, 2048, intermediate, dtype=torch.bfloat16, device="meta")
    assert experts.suitable(down) is divided
    assert not experts.suitable(down.to(torch.float8_e4m3fn))
