"""One rank of tiny models that are split over all ranks; prints their answers as JSON.

By hand: `torchrun --nproc-per-node 2 -m tests.unit.model_server.distributed.greedy DIR ...`, where
the directories hold models; with `--device cuda` each rank takes a GPU.
"""

import argparse
import json
import time
from itertools import cycle
from pathlib import Path

import torch

from deepseek_server.distributed.process_group import Group, join
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.loading.loading import load
from deepseek_server.server.lifecycle import Progress
from hack.models.families import VOCABULARY
from tests.support.model_server.serving import directory_config
from tests.unit.model_server.models.stepping import runner_of, scattered, step

ANSWER = 8
LENGTHS = (1, 7, 33, 100)
SIZES = (3, 29, 64)


def prompt(length: int) -> list[int]:
    """Return random words, the same for the same length."""
    draw = torch.Generator().manual_seed(length)
    return torch.randint(4, VOCABULARY, (length,), generator=draw).tolist()


def answers(directory: Path, device: str, group: Group) -> dict[str, object]:
    """Run several prompts in chunks of odd sizes; return the last logits of the longest one, too."""
    config = directory_config(directory, dtype="float32").model
    progress = Progress()
    model = load(inspect(directory), config, device, progress, group).model
    torch.set_num_threads(1)  # tiny tensors gain nothing from threads
    runner = runner_of(model)
    sequences = scattered(runner, [prompt(length) for length in LENGTHS], ANSWER)
    size = cycle(SIZES)
    while unfinished := [s for s in sequences if len(s.answer) < ANSWER]:
        step(runner, [(s, s.chunk(next(size))) for s in unfinished])
    longest = sequences[-1]
    chunk = Chunk(tuple(prompt(LENGTHS[-1])), 0, longest.blocks, sample=True)
    return {
        "answers": [sequence.answer for sequence in sequences],
        "logits": runner.run([chunk])[0].tolist(),
        "bytes": progress.bytes[1],
        "weights": sum(parameter.nbytes for parameter in model.parameters()),
    }


def broadcast_seconds(group: Group, value: object, times: int = 200) -> float:
    """Return the average time to broadcast a value."""
    group.broadcast_object(None)
    began = time.perf_counter()
    for _ in range(times):
        group.broadcast_object(value if group.rank == 0 else None)
    return (time.perf_counter() - began) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    group = join(arguments.device)
    found: dict[str, object] = {
        directory.name: answers(directory, arguments.device, group)
        for directory in arguments.directories
    }
    found["shared"] = [
        group.broadcast_object([group.rank, size, b"x" * size]) for size in (0, 4000, 100_000)
    ]
    found["shared"] = [(rank, size, len(data)) for rank, size, data in found["shared"]]
    found["smallest"] = group.all_reduce_min(10 - group.rank)
    found["share_seconds"] = broadcast_seconds(group, {"tokens": list(range(64))})
    group.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
