"""The fused kernels, the paged cache and the recorded graphs give the logits of the plain model.

Run on a GPU: `python -m tests.gpu.same_logits PROFILE`. The model has real heads, few layers and
random weights. Its logits after prompts and after each of some more tokens are compared with those
of the plain model in float32; the error of the plain model in bfloat16 stands beside it for scale.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from deepseek_server.bench.make_model import write_model
from deepseek_server.bench.profiles import configuration
from deepseek_server.engine.step import Chunk
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.paged import PagedRunner

PROMPTS = (1, 63, 64, 65, 200, 700)
STEPS = 6
LAYERS = 4
TOKENS = 1024  # of a sequence at most


def load(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, device_map="cuda").eval()


def plain(model: PreTrainedModel, rows: list[list[int]]) -> list[torch.Tensor]:
    """Logits after the prompt and after each further token: [STEPS, vocabulary] for each row."""
    with torch.inference_mode():
        return [
            model(torch.tensor([row], device="cuda"), logits_to_keep=STEPS).logits[0].float()
            for row in rows
        ]


def paged(runner: PagedRunner, rows: list[list[int]]) -> list[torch.Tensor]:
    """The same: prompts together in two pieces, then one token of each at a time."""
    kept: list[list[torch.Tensor]] = [[] for _ in rows]
    count = TOKENS // runner.block_size

    def chunk(slot: int, start: int, end: int, *, sample: bool) -> Chunk:
        blocks = tuple(range(slot * count, slot * count + count))
        return Chunk(tuple(rows[slot][start:end]), start, blocks, sample, slot)

    prompts = [len(row) - STEPS + 1 for row in rows]
    halves = [chunk(n, 0, length // 2, sample=False) for n, length in enumerate(prompts)]
    runner.run([half for half in halves if len(half)])
    steps = [[chunk(n, p // 2, p, sample=True) for n, p in enumerate(prompts)]]
    steps += [
        [chunk(n, p + step - 1, p + step, sample=True) for n, p in enumerate(prompts)]
        for step in range(1, STEPS)
    ]
    for step in steps:
        for one, logits in zip(kept, runner.run(step), strict=True):
            one.append(logits.float().clone())
    return [torch.stack(one) for one in kept]


def error(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> list[float]:
    return [round(float((a - b).norm() / b.norm()), 5) for a, b in zip(found, wanted, strict=True)]


def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        write_model(configuration(name, LAYERS), directory)
        draw = torch.Generator().manual_seed(1)
        rows = [
            torch.randint(5, 50_000, (length + STEPS - 1,), generator=draw).tolist()
            for length in PROMPTS
        ]
        exact = plain(load(directory, torch.float32), rows)
        model = load(directory, torch.bfloat16)
        short = plain(model, rows)
        runner = paged_runner(model, context=4096, step_tokens=2048, sequences=16)
        ours = paged(runner, rows)
    result = {
        "profile": name,
        "prompts": PROMPTS,
        "plain bfloat16": error(short, exact),
        "ours": error(ours, exact),
    }
    print(json.dumps(result))
    worst, allowed = max(result["ours"]), 2 * max(result["plain bfloat16"])
    if not worst <= allowed:
        raise SystemExit(f"the error is {worst}, more than {allowed}")


if __name__ == "__main__":
    main()
