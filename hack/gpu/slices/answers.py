"""Greedy answers of an engine, and the agreement of two ways to compute them.

With random weights the two largest logits often differ by less than rounding errors, and a router
may select another expert for the same reason. So answers may diverge, but only where the expected
token has nearly the same log probability as the actual one; all tokens before must have the same
log probability.
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
from deepseek_server.engine.scheduler import StepLimits
from deepseek_server.engine.types import Logprobs, Request, Sampling

ALTERNATIVES = 5
# The share of tokens whose log probabilities must agree.
SHARE = 0.95
# One in this number of requests may deviate by more than is allowed.
PARTING = 8
# Differences of log probabilities that rounding and another expert can cause, for logits with a
# standard deviation of 1.
ALLOWED = {"float32": 1e-3, "bfloat16": 0.25, "fp8": 0.4}

Prompt = tuple[int, ...]


@dataclass
class Answer:
    """The answer to a request.

    Attributes:
        tokens: The tokens.
        logprobs: Log probability of each token.
        cached: Tokens of its prompt that were found in the cache.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprobs] = field(default_factory=list)
    cached: int = 0


class Watched:
    """A runner that exposes fewer blocks to an engine and counts its steps.

    Args:
        runner: The model and its cache.
        blocks: Number of exposed blocks; None for all.
    """

    def __init__(self, runner: Runner, blocks: int | None = None) -> None:
        self._runner = runner
        self.num_blocks = runner.num_blocks if blocks is None else blocks
        self.block_size, self.overlap_scheduling = runner.block_size, runner.overlap_scheduling
        self.shares_prefixes = runner.shares_prefixes
        self.mixed = self.chunked = 0

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See engine.runner.Runner."""
        prompts = [chunk for chunk in chunks if len(chunk) > 1]
        self.mixed += bool(prompts) and any(len(chunk) == 1 and chunk.start for chunk in chunks)
        self.chunked += any(not chunk.sample for chunk in prompts)
        return self._runner.run(chunks)

    def store_sampled_tokens(self, tokens: torch.Tensor) -> None:
        """See engine.runner.Runner."""
        self._runner.store_sampled_tokens(tokens)


def engine(runner: Runner, limits: StepLimits) -> Core:
    """Return an engine with an empty cache around a runner."""
    return Core(runner, frozenset(), limits)


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
    """Return an engine's greedy answers to concurrent prompts.

    Args:
        core: The engine, which must be idle.
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
    """Return a check of the agreement of answers with the expected ones."""
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
    """Return the differences of log probabilities, up to the first token that differs."""
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
