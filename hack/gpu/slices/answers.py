"""Greedy answers of an engine, and how far two ways to compute them agree.

Random weights give logits whose two largest are often closer together than rounding is large, and
a router may choose another expert for the same reason. So answers may part, but only where the
token that is wanted is worth nearly as much as the one that was found; and before that each token
must be worth the same.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from deepseek_server.engine.core import Core
from deepseek_server.engine.ipc import Failure
from deepseek_server.engine.runner import Chunk, Runner
from deepseek_server.engine.scheduler import StepSize
from deepseek_server.engine.types import Logprobs, Request, Sampling

ALTERNATIVES = 5
# The share of tokens whose log probabilities must agree.
SHARE = 0.95
# Of so many requests one may part from what is wanted by more than is allowed.
PARTING = 8
# Differences of log probabilities that rounding and another expert explain, where logits have a
# deviation of 1.
ALLOWED = {"float32": 1e-3, "bfloat16": 0.25, "fp8": 0.4}

Prompt = tuple[int, ...]


@dataclass
class Answer:
    """What came back for a request.

    Attributes:
        tokens: The tokens.
        logprobs: What each is worth.
        cached: Tokens of its prompt that were found in the cache.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprobs] = field(default_factory=list)
    cached: int = 0


class Watched:
    """A runner of which an engine sees fewer blocks, and whose steps are counted.

    Args:
        runner: The model and its cache.
        blocks: How many of its blocks; None: all.
    """

    def __init__(self, runner: Runner, blocks: int | None = None) -> None:
        self._runner = runner
        self.num_blocks = runner.num_blocks if blocks is None else blocks
        self.block_size, self.works_ahead = runner.block_size, runner.works_ahead
        self.shares_prefixes = runner.shares_prefixes
        self.mixed = self.chunked = 0

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See engine.step.Runner."""
        prompts = [chunk for chunk in chunks if len(chunk) > 1]
        self.mixed += bool(prompts) and any(len(chunk) == 1 and chunk.start for chunk in chunks)
        self.chunked += any(not chunk.sample for chunk in prompts)
        return self._runner.run(chunks)

    def follow(self, tokens: torch.Tensor) -> None:
        """See engine.step.Runner."""
        self._runner.follow(tokens)


def engine(runner: Runner, size: StepSize) -> Core:
    """Return an engine with an empty cache around a runner."""
    return Core(runner, frozenset(), size)


def prompts(vocabulary: int, lengths: Sequence[int], seed: int = 2) -> dict[str, Prompt]:
    """Return random prompts by name, the same every time."""
    draw = random.Random(seed)
    return {
        f"{number}: {length} tokens": tuple(draw.randrange(5, vocabulary) for _ in range(length))
        for number, length in enumerate(lengths)
    }


def answer(
    core: Core, prompts: Mapping[str, Prompt], tokens: int, apart: int = 0
) -> dict[str, Answer]:
    """Let an engine answer prompts greedily, at once.

    Args:
        core: The engine, which has nothing else to do.
        prompts: The prompts by name.
        tokens: Tokens of each answer.
        apart: Steps between the arrivals of two prompts.

    Raises:
        RuntimeError: A request failed.
    """
    answers = {name: Answer() for name in prompts}
    sampling = Sampling(tokens, temperature=0.0, ignore_eos=True, logprobs=ALTERNATIVES)
    for name, prompt in prompts.items():
        core.add(Request(name, prompt, sampling))
        for _ in range(apart):
            _take(core, answers)
    while not core.idle:
        _take(core, answers)
    return answers


def _take(core: Core, answers: Mapping[str, Answer]) -> None:
    for result in core.step():
        if isinstance(result, Failure):
            raise RuntimeError(f"request {result.request} failed: {result.reason}")
        one = answers[result.request]
        one.tokens.append(result.token)
        one.logprobs.append(result.logprobs)
        one.cached = result.cached_tokens


def agreement(
    wanted: Mapping[str, Answer], found: Mapping[str, Answer], allowed: float
) -> dict[str, Any]:
    """Return a check: how far answers agree with those that are wanted."""
    differences = {name: _differences(wanted[name], found[name]) for name in wanted}
    every = [one for of_request in differences.values() for one in of_request]
    share = sum(one <= allowed for one in every) / len(every)
    parted = [name for name in wanted if wanted[name].tokens != found[name].tokens]
    lost = [name for name in parted if differences[name][-1] > allowed]
    return {
        "passed": share >= SHARE and len(lost) <= len(wanted) // PARTING,
        "answers": len(wanted),
        "same": len(wanted) - len(parted),
        "lost": lost,
        "tokens_compared": len(every),
        "share_that_agrees": round(share, 4),
        "median_difference": _digits(median(every)),
        "largest_difference": _digits(max(every)),
        "allowed": allowed,
    }


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _differences(wanted: Answer, found: Answer) -> list[float]:
    """Return how far apart what each token is worth is, up to the first one that differs."""
    differences = []
    for token, worth, other, others in zip(
        wanted.tokens, wanted.logprobs, found.tokens, found.logprobs, strict=True
    ):
        known = dict(others.top) | {other: others.chosen}
        difference = abs(worth.chosen - known.get(token, math.inf))
        differences.append(math.inf if math.isnan(difference) else difference)
        if token != other:
            break
    return differences
