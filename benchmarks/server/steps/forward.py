"""The cost of a decode step of the bare model, without engine, detokenization and HTTP.

The time of a server beyond this is its overhead.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from deepseek_server.command_line import parse
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.loading.loading import load
from deepseek_server.models.runners.paged import PagedRunner
from deepseek_server.server.lifecycle import Progress

WARM_STEPS = 5
GROUPS = 20
STEPS_OF_GROUP = 5


@dataclass(frozen=True)
class Step:
    """The cost of a step in seconds.

    Attributes:
        wall: wall-clock time.
        cpu: CPU time.
    """

    wall: float
    cpu: float


def decode_step(
    directory: Path, device: str, at_once: int, context: int, group: Group = SINGLE_PROCESS
) -> Step:
    """Return the median cost of a decode step.

    Args:
        directory: directory of a model that the paged cache supports.
        device: device of the model.
        at_once: number of sequences.
        context: tokens of each sequence.
        group: the ranks that compute the model together.

    Raises:
        PermanentError: the model cannot be loaded on this machine.
    """
    config = parse(("--model", str(directory.absolute()), "--device", device))
    loaded = load(inspect(directory), config.model, config.device, Progress(), group)
    runner = paged_runner(
        loaded.model,
        context=context,
        max_num_batched_tokens=max(context, at_once),
        max_num_seqs=at_once,
        group=group,
    )
    step = []
    for number in range(at_once):
        own = _blocks(runner, number, context)
        text = tokens(number, context, loaded.model.config.vocab_size)
        runner.run([Chunk(text, 0, own, sample=True, request_index=number)])
        step.append(Chunk(text[-1:], context - 1, own, sample=True, request_index=number))
    _costs(runner, step, WARM_STEPS)
    costs = [_costs(runner, step, STEPS_OF_GROUP) for _ in range(GROUPS)]
    return Step(median(cost.wall for cost in costs), median(cost.cpu for cost in costs))


def tokens(number: int, count: int, vocabulary: int) -> tuple[int, ...]:
    """Return random tokens, always the same for the same sequence.

    Sequences must differ: equal tokens select the same experts, and a step then reads the weights
    of only a few of them.

    Args:
        number: Index of the sequence.
        count: Number of tokens.
        vocabulary: Size of the vocabulary.
    """
    return tuple(np.random.default_rng(number).integers(vocabulary, size=count).tolist())


def _blocks(runner: PagedRunner, number: int, context: int) -> tuple[int, ...]:
    count = -(-context // runner.block_size)
    return tuple(range(number * count, (number + 1) * count))


def _costs(runner: PagedRunner, step: list[Chunk], count: int) -> Step:
    """Return the mean cost of `count` steps."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        runner.run(step)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Step((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count)
