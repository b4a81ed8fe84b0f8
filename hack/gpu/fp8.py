"""Check and time block-scaled fp8 products on a GPU: `python -m hack.gpu.fp8`.

Needs a GPU with fp8 support (an H100, H200 or H20). Each line compares the kernels with the
reference in models/layers/fp8.py and with the time of the same product in bfloat16. Exits with 1 if an
error is larger than that of rounding to bfloat16.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import torch

from deepseek_server.kernels.triton import fp8 as kernels
from deepseek_server.kernels.triton.fp8_format import FP8
from deepseek_server.kernels.triton.rows import rows
from deepseek_server.models.layers import fp8
from deepseek_server.models.layers.fp8_modules import native

# DeepSeek-V3: rows and columns of its matrices (config.json of deepseek-ai/DeepSeek-V3), whole.
LINEAR = {
    "q_a_proj": (1536, 7168),
    "q_b_proj": (24576, 1536),
    "kv_a_proj_with_mqa": (576, 7168),
    "o_proj": (7168, 16384),
    "gate_proj": (18432, 7168),
    "down_proj": (7168, 18432),
}
EXPERTS, TOP = 256, 8
# Rows and columns of the experts' matrices, divided among 8 GPUs.
STACKS = {"gate_up_proj": (512, 7168), "down_proj": (7168, 256)}
TOKENS = (1, 16, 128, 4096)
# Half of the last of bfloat16's eight bits, and the sum's own order.
TOLERANCE = 2**-8


def seconds(run: Callable[[], object], times: int = 20) -> float:
    """Return the median time of a call on the GPU."""
    for _ in range(3):
        run()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(times)]
    for begin, end in marks:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in marks) / 1000


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the maximum difference as a share of the largest value."""
    return float((found.float() - expected).abs().max() / expected.abs().max())


def weights(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random fp8 values and the scales of their blocks."""
    numbers = torch.randn(shape, device="cuda", dtype=torch.bfloat16).to(FP8)
    blocks = (*shape[:-2], fp8.blocks(shape[-2]), fp8.blocks(shape[-1]))
    return numbers, torch.rand(blocks, device="cuda") / 64


def linear(tokens: int, rows: int, columns: int, powers: bool) -> tuple[float, float, float]:
    """Error, and seconds in eight bits and in bfloat16."""
    weight, scale = weights(rows, columns)
    values = torch.randn(tokens, columns, device="cuda", dtype=torch.bfloat16)
    laid_out = kernels.linear_scale(scale)
    expected = fp8.multiply(*fp8.quantise(values, powers), weight, scale)
    found = kernels.linear(values, weight, laid_out, powers)
    wide = fp8.dequantise(weight, scale).bfloat16()
    return (
        error(found, expected),
        seconds(lambda: kernels.linear(values, weight, laid_out, powers)),
        seconds(lambda: torch.nn.functional.linear(values, wide)),
    )


def experts(tokens: int, outputs: int, columns: int) -> tuple[float, float, float]:
    """Error, and seconds in eight bits and in bfloat16."""
    weight, scale = weights(EXPERTS, outputs, columns)
    values = torch.randn(tokens, columns, device="cuda", dtype=torch.bfloat16)
    chosen = torch.rand(tokens, EXPERTS, device="cuda").argsort(1)[:, :TOP]

    def run() -> torch.Tensor:
        listed = rows(chosen, EXPERTS)
        return kernels.multiply_experts(values, listed, TOP, weight, scale, False)

    found, worst = run(), 0.0
    for row in range(0, len(found), max(1, len(found) // 16)):
        inputs = fp8.quantise(values[row // TOP][None])
        expert = chosen.flatten()[row]
        expected = fp8.multiply(*inputs, weight[expert], scale[expert])
        worst = max(worst, error(found[row], expected[0]))
    wide = torch.stack(
        [fp8.dequantise(w, s).bfloat16() for w, s in zip(weight, scale, strict=True)]
    )
    ordered, by_expert = chosen.flatten().sort()
    ends = torch.searchsorted(ordered, torch.arange(EXPERTS, device="cuda"), right=True).int()
    gathered = values[by_expert // TOP]
    return (
        worst,
        seconds(run),
        seconds(lambda: torch.nn.functional.grouped_mm(gathered, wide.mT, offs=ends)),
    )


def main() -> None:
    """Print a line for each matrix and number of tokens."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not torch.cuda.is_available() or not native(torch.device("cuda")):
        sys.exit("this machine has no GPU with fp8 block products: use an H100, H200 or H20")
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    print(f"{'matrix':<22}{'tokens':>8}{'error':>10}{'fp8 us':>10}{'bf16 us':>10}")
    worst = 0.0
    cases: dict[str, Callable[[int], tuple[float, float, float]]] = {}
    for name, shape in LINEAR.items():
        cases[name] = lambda tokens, shape=shape: linear(tokens, *shape, powers=False)
    cases["o_proj, powers of two"] = lambda tokens: linear(tokens, *LINEAR["o_proj"], powers=True)
    for name, shape in STACKS.items():
        cases[f"experts' {name}"] = lambda tokens, shape=shape: experts(tokens, *shape)
    for name, case in cases.items():
        for tokens in TOKENS:
            off, eight, sixteen = case(tokens)
            worst = max(worst, off)
            print(f"{name:<22}{tokens:>8}{off:>10.5f}{eight * 1e6:>10.1f}{sixteen * 1e6:>10.1f}")
    if worst > TOLERANCE:
        sys.exit(f"the largest error, {worst:.5f}, exceeds {TOLERANCE:.5f}")


if __name__ == "__main__":
    main()
