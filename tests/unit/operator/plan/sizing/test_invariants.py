"""Invariants of every sizing decision."""

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.sizing import refusals as misfit
from deepseek_operator.plan.sizing.fit import (
    AT_ONCE,
    LEAST_CONTEXT,
    compute_type,
    computes,
    smallest,
)
from deepseek_operator.plan.sizing.memory import Memory
from deepseek_operator.plan.state.refusal import Refusal
from tests.unit.operator.plan.sizing.deciding import decided

NAMES = [name for name in models() if models().get(name) is not None]
KINDS = sorted(accelerators().profiles)
DTYPES = ["auto", "bfloat16", "float16", "float32"]


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.sampled_from(DTYPES),
    st.none() | st.integers(1, 20),
    st.none() | st.integers(16, 200_000),
)
@settings(max_examples=300, deadline=None)
def test_accepted_specs_fit_and_refusals_name_alternatives_that_fit(
    name: str, kind: str, dtype: str, count: int | None, context: int | None
) -> None:
    asked: dict[str, Any] = {"dtype": dtype, "maxContext": context}
    decision = decided(name, asked=asked, profile=kind, count=count)
    if isinstance(decision, DesiredState):
        memory = decision.sizing.memory
        assert memory is not None
        assert memory.gpus == (count or memory.gpus) == decision.config.get("tensorParallel", 1)
        used = memory.reserved + memory.weights + memory.cache + memory.step
        assert used <= memory.total
        assert not any(number % memory.gpus for number in memory.model.shape.divided.values())
        assert memory.requests(decision.sizing.context or 0) >= 1
        if context:
            assert decision.config["model"]["maxContext"] == context <= memory.context
        return
    for asked_anew, accelerator in ways_out(decision, asked, {"profile": kind, "count": count}):
        assert isinstance(decided(name, asked=asked_anew, **accelerator), DesiredState), (
            decision.message
        )


def ways_out(
    refused: Refusal, asked: dict[str, Any], accelerator: dict[str, Any]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the alternatives of a message as spec fields."""
    message = refused.message
    if refused.reason == misfit.CONTEXT_TOO_LONG:
        # A shorter context is within the model's limit, but may still not fit.
        return []
    if found := re.search(r"Set model\.dtype to ([a-z0-9 ]+),", message):
        types = found[1].split(" or ")
        assert asked["dtype"] not in types
        return []
    if "set accelerator.count to 1" in message:
        return []
    _, _, ways = message.partition("What would fit: ")
    assert ways or "No GPU profile of the catalogue" in message
    result = []
    for way in ways.rstrip(".").split(", or ") if ways else []:
        if number := re.fullmatch(r"accelerator\.count (\d+)", way):
            result.append((asked, {**accelerator, "count": int(number[1])}))
        elif number := re.fullmatch(r"model\.maxContext (\d+)", way):
            result.append(({**asked, "maxContext": int(number[1])}, accelerator))
        elif number := re.fullmatch(r"parallelism\.tensor (\d+) on (\d+) nodes", way):
            split = {"tensor": int(number[1])}
            result.append((asked, {"profile": accelerator["profile"], "parallelism": split}))
        else:
            number = re.fullmatch(r"(\d+) x (\S+)", way)
            assert number, way
            result.append((asked, {"profile": number[2], "count": int(number[1])}))
    return result


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.sampled_from(DTYPES),
    st.integers(1, 100_000),
    st.integers(16, 131_072),
)
# Holds one request of that length, not the two that a choice needs.
@example("deepseek-ai/deepseek-llm-7b-base", "nvidia-a100-80gb-mig-2g.20gb", "auto", 1, 2176)
@settings(max_examples=200, deadline=None)
def test_more_memory_never_needs_more_gpus(
    name: str, kind: str, dtype: str, more: int, context: int
) -> None:
    model, small = models().get(name), accelerators().profiles[kind]
    assert model is not None
    large = small.model_copy(update={"memory_mib": small.memory_mib + more})
    dtype = compute_type(dtype, model, small)
    if not computes(model, small, dtype):
        return

    def holds(memory: Memory) -> bool:
        at_once = memory.requests(min(context, LEAST_CONTEXT))
        return memory.context >= context and at_once >= AT_ONCE

    def fewest(profile: Profile) -> Memory | None:
        counts = range(1, profile.together + 1)
        options = (Memory(model, profile, n, dtype) for n in counts if model.shape.splits(n))
        return next(filter(holds, options), None)

    with_less, with_more = fewest(small), fewest(large)
    assert with_less == smallest(model, kind, dtype, context)
    if with_less is not None:
        assert with_more is not None
        assert with_more.gpus <= with_less.gpus
        same = Memory(model, large, with_less.gpus, dtype)
        assert same.longest >= with_less.longest
        assert same.requests(context) >= with_less.requests(context)
