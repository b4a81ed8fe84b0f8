"""Measure the GPU's idle time during decoding: `python -m hack.gpu.waiting MODEL`.

The engine runs as in a server with 256 concurrent requests, and a profiler records when the GPU
computes. The time between is idle time, in which the GPU waits for the CPU. Prints JSON.
"""

import json
import logging
import pickle
import random
import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from deepseek_server.config import validate
from deepseek_server.engine.types import Request, Sampling
from deepseek_server.models.build import load_engine
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.server.lifecycle import Progress
from deepseek_server.worker.main import MAX_NUM_BATCHED_TOKENS, PREFILL_SHARE

REQUESTS, PROMPT, ANSWER = 256, 512, 128
STEPS = 40


def busy(spans: list[tuple[float, float]]) -> float:
    """Return the length of a union of spans."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(last - max(first, end), 0.0)
        end = max(end, last)
    return total


def main() -> None:
    logging.basicConfig(level="WARNING")
    directory = sys.argv[1]
    model = {"id": "m", "source": {"path": directory}}
    config = validate({"model": model, "device": "cuda"}, "this program's configuration")
    core, _ = load_engine(
        inspect(Path(directory)),
        config,
        Progress(),
        max_num_seqs=REQUESTS,
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS["cuda"],
        prefill_share=PREFILL_SHARE["cuda"],
    )
    draw = random.Random(1)
    for number in range(REQUESTS):
        prompt = tuple(draw.randrange(5, 50_000) for _ in range(PROMPT))
        core.add(Request(str(number), prompt, Sampling(ANSWER, temperature=0.0, ignore_eos=True)))
    while core.load.waiting or core.totals.step_tokens.count < 60:
        core.step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(STEPS):
            pickle.dumps(core.step())  # as it is sent
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in trace.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ]
    whole = max(last for _, last in spans) - min(first for first, _ in spans)
    result = {
        "requests": REQUESTS,
        "steps": STEPS,
        "step_ms": round(whole / STEPS / 1e3, 2),
        "gpu_waits": round(1 - busy(spans) / whole, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
