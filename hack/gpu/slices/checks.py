"""Checks of an engine that hold for any model: each is a function of a slice."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deepseek_server.engine.runner import Runner
from deepseek_server.engine.scheduler import StepLimits
from hack.gpu.slices.answers import Answer, Prompt, Watched, agreement, answer, engine, prompts

LENGTHS = (1, 7, 63, 64, 65, 200, 700, 1500)
TOKENS = 16
MAX_NUM_SEQS = 16
# So small that a prompt needs several steps while other requests decode.
MIXED = StepLimits(max_num_batched_tokens=256, prefill_share=96, max_num_seqs=MAX_NUM_SEQS)


@dataclass(frozen=True)
class Slice:
    """A loaded model.

    Attributes:
        runner: The model and its cache.
        vocabulary: Size of the vocabulary.
        max_num_batched_tokens: Tokens of the largest step.
        context: Tokens of the longest tested request.
        allowed: Differences of log probabilities that rounding can cause.
    """

    runner: Runner
    vocabulary: int
    max_num_batched_tokens: int
    context: int
    allowed: float

    @property
    def limits(self) -> StepLimits:
        """The largest step."""
        return StepLimits(self.max_num_batched_tokens, self.max_num_batched_tokens, MAX_NUM_SEQS)

    def alone(self, asked: dict[str, Prompt], tokens: int = TOKENS) -> dict[str, Answer]:
        """Return answers to prompts that run one after the other, each in an empty cache."""
        answers: dict[str, Answer] = {}
        for name, prompt in asked.items():
            answers |= answer(engine(self.runner, self.limits), {name: prompt}, tokens)
        return answers


def mixed_batch(model: Slice) -> dict[str, Any]:
    """Check that chunked prefill beside decoding gives the same answers as each prompt alone."""
    asked = prompts(model.vocabulary, LENGTHS)
    watched = Watched(model.runner)
    found = answer(engine(watched, MIXED), asked, TOKENS, apart=1)
    result = agreement(model.alone(asked), found, model.allowed)
    counts = {"mixed_steps": watched.mixed, "chunked_steps": watched.chunked}
    result["passed"] &= bool(watched.mixed and watched.chunked)
    return result | counts


def prefix_hits(model: Slice) -> dict[str, Any]:
    """Check that a prompt with a cached prefix gives the same answer as with an empty cache."""
    if not model.runner.shares_prefixes:
        return {"skipped": "this model's cache is not shared between requests"}
    (first,) = prompts(model.vocabulary, [700]).values()
    longer = (*first, *first[:150])
    asked = {"the same": first, "longer": longer}
    core = engine(model.runner, model.limits)
    answer(core, {"first": first}, TOKENS)
    found = answer(core, asked, TOKENS)
    result = agreement(model.alone(asked), found, model.allowed)
    cached = {name: one.cached for name, one in found.items()}
    result["passed"] &= min(cached.values()) >= len(first) // 2
    return result | {"cached": cached}


def preemption(model: Slice) -> dict[str, Any]:
    """Check that preempted requests give the same answers as alone."""
    block = model.runner.block_size
    # Three of them fill the cache, and each grows to four blocks.
    asked = prompts(model.vocabulary, [3 * block // 2] * 4, seed=3)
    tokens = 2 * block
    core = engine(Watched(model.runner, blocks=9), model.limits)
    found = answer(core, asked, tokens)
    result = agreement(model.alone(asked, tokens), found, model.allowed)
    preemptions = core.totals.preemptions
    result["passed"] &= preemptions > 0
    return result | {"preemptions": preemptions}


def long_context(model: Slice) -> dict[str, Any]:
    """Check that a long prompt gives the same answer with two chunk sizes."""
    room = model.runner.num_blocks * model.runner.block_size
    if room < model.context:
        return {"passed": False, "error": f"the cache holds {room} of {model.context} tokens"}
    asked = prompts(model.vocabulary, [model.context - TOKENS])
    began = time.monotonic()
    found = model.alone(asked)
    seconds = time.monotonic() - began
    smaller = StepLimits(
        max(model.max_num_batched_tokens // 4, 1), model.max_num_batched_tokens, MAX_NUM_SEQS
    )
    result = agreement(found, answer(engine(model.runner, smaller), asked, TOKENS), model.allowed)
    return result | {"tokens": model.context, "seconds": round(seconds, 2)}


CHECKS: dict[str, Callable[[Slice], dict[str, Any]]] = {
    "mixed batch": mixed_batch,
    "prefix hits": prefix_hits,
    "preemption": preemption,
    "long context": long_context,
}
