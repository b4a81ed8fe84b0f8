"""Canary: the candidate receives a growing share of the requests and is compared at every step.

    step i      as many replicas as its weight requires; when all of them serve and are past their
                warm-up, the comparison begins; it ends after the pause, once it has passed
    last step   the candidate replaces the stable set replica by replica, and is promoted when all serve

A candidate that is worse, or can't serve, is removed at once. One that the spec no longer requests keeps
serving until the stable set has back the replicas that made room for it. If no GPU is free, candidate
replicas replace stable ones one at a time; the last stable replica is kept until the last step.
"""

from dataclasses import replace
from datetime import timedelta
from math import ceil

from deepseek_operator.api.rollout import seconds
from deepseek_operator.plan.progressive.analysis import Verdict, judge
from deepseek_operator.plan.progressive.progression import (
    ProgressiveInput,
    Traffic,
    is_obsolete,
    stable_only,
)
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.progressive.samples import total_increase
from deepseek_operator.plan.state.labels import BLUE, GREEN

WORSE = "AnalysisFailed"
BROKEN = "CandidateFailed"
# Most servers of a set that are compared; their baselines have to fit into an annotation.
MAX_COMPARED_SERVERS = 32


def verdict(state: RolloutState, inputs: ProgressiveInput) -> Verdict | None:
    """Return the result of the comparison, None while none has begun."""
    if not state.candidate or state.since is None:
        return None
    if inputs.scrape_error:
        return Verdict("inconclusive", inputs.scrape_error)
    stable, candidate = (
        total_increase(inputs.samples.get(color, {}), state.baselines)
        for color in (state.stable, state.candidate_color)
    )
    return judge(inputs.rules.canary.analysis, stable, candidate)


def advance(state: RolloutState, inputs: ProgressiveInput) -> RolloutState:
    """Return the next state of the rollout, for a state that is aligned with the newest spec."""
    if not state.candidate or is_obsolete(state, inputs):
        return state
    rules, now = inputs.rules, inputs.now
    last = len(rules.canary.steps)
    state = replace(state, step=min(state.step, last))
    if state.candidate == rules.promote:
        # The user promotes this revision, so findings and analysis are ignored.
        state = state if state.step == last else state.at_step(last)
    elif inputs.failure and (inputs.stable.ready or not inputs.candidate.ready):
        # If only the candidate serves, one broken replica is no reason to remove the others.
        return state.rolled_back(BROKEN, inputs.failure, now)
    else:
        result = verdict(state, inputs)
        if result and result.outcome == "fail":
            return state.rolled_back(WORSE, result.message, now)
        if state.step < last and state.since and result and result.outcome == "pass":
            pause = timedelta(seconds=seconds(rules.canary.steps[state.step].pause))
            if now - state.since >= pause and not rules.hold:
                state = state.at_step(state.step + 1)
    if state.step == last and inputs.candidate.serves(inputs.wanted):
        return state.promoted()
    return _with_baselines(state, inputs)


def _with_baselines(state: RolloutState, inputs: ProgressiveInput) -> RolloutState:
    """Add baselines for servers that have none, once all replicas of the step serve."""
    samples = inputs.samples
    if state.since is None:
        ours = samples.get(state.candidate_color, {})
        ready = min(inputs.candidate.ready, MAX_COMPARED_SERVERS)
        whole = inputs.candidate.revision == state.candidate and inputs.candidate.serves(
            step_replicas(state, inputs)
        )
        if not whole or len(ours) < ready or not samples.get(state.stable):
            return state
        state = replace(state, since=inputs.now)
    new = {
        name: sample.baseline
        for color in (BLUE, GREEN)
        for name, sample in samples.get(color, {}).items()
        if name not in state.baselines
    }
    return replace(state, baselines={**state.baselines, **new}) if new else state


def step_replicas(state: RolloutState, inputs: ProgressiveInput) -> int:
    """Return the number of candidate replicas for the current step."""
    steps = inputs.rules.canary.steps
    if state.step >= len(steps):
        return inputs.wanted
    return max(1, ceil(inputs.wanted * steps[state.step].weight / 100))


def sizes(state: RolloutState, inputs: ProgressiveInput) -> tuple[int, int]:
    """Return the replicas of the stable set and of the candidate."""
    wanted, candidate = inputs.wanted, inputs.candidate
    if not state.candidate:
        return wanted, 0
    if is_obsolete(state, inputs):
        return wanted, min(candidate.wanted, max(0, inputs.min_serving - inputs.stable.ready))
    limit = step_replicas(state, inputs)
    if inputs.capacity is None:
        return wanted, limit
    spare = inputs.capacity - inputs.stable.scheduled - candidate.scheduled
    current_replicas = candidate.wanted if candidate.revision == state.candidate else 0
    ours = min(limit, max(current_replicas, candidate.ready + max(1, spare)))
    if inputs.scaled or inputs.rules.when_no_gpu_is_free == "wait":
        return wanted, ours
    least = 0 if state.step >= len(inputs.rules.canary.steps) else 1
    return min(wanted, max(inputs.capacity - ours, wanted - ours, least)), ours


def traffic(state: RolloutState, inputs: ProgressiveInput) -> Traffic:
    """Return the distribution of requests over the sets for the present state."""
    stable, candidate = inputs.stable, inputs.candidate
    usable = candidate.ready and not candidate.rolling and candidate.revision == state.candidate
    if not state.candidate or not usable:
        return stable_only(state, inputs)
    steps = inputs.rules.canary.steps
    share = _share(state, inputs)
    if not stable.ready:
        weight = 100
    elif is_obsolete(state, inputs):
        weight = share
    elif state.step >= len(steps):
        weight = max(steps[-1].weight, share)
    else:
        whole = candidate.serves(step_replicas(state, inputs))
        reached = state.step if whole else state.step - 1
        weight = steps[reached].weight if reached >= 0 else min(steps[0].weight, share)
    return Traffic({state.stable: 100 - weight, state.candidate_color: weight}, (BLUE, GREEN))


def _share(state: RolloutState, inputs: ProgressiveInput) -> int:
    """Return the candidate's percentage of the ready pods, which is its share of the requests."""
    ready = inputs.stable.ready + inputs.candidate.ready
    return round(100 * inputs.candidate.ready / ready) if ready else 0


def weight(state: RolloutState, inputs: ProgressiveInput) -> int:
    """Return the percentage of the requests that the candidate receives now."""
    given = traffic(state, inputs)
    if inputs.routed or len(given.common) == 1:
        return given.weights[state.candidate_color]
    return _share(state, inputs) if state.candidate else 0
