"""Blue-green: a second set starts, passes smoke requests, then receives all requests at once.

    candidate starts        as many replicas as the stable set; the Service selects the stable set
    all ready and checked   the Service selects the candidate, in one write
    keepOld has passed      the old set is removed

While the old set exists, an abort or a revert of the spec switches the requests back to it.
"""

from dataclasses import replace
from datetime import timedelta

from deepseek_operator.api.rollout import seconds
from deepseek_operator.plan.progressive.canary import BROKEN
from deepseek_operator.plan.progressive.progression import ProgressiveInput, Traffic, stable_only
from deepseek_operator.plan.progressive.rollout_state import RolloutState

CHECK_FAILED = "CheckFailed"
LOST = "CandidateLost"


def advance(state: RolloutState, inputs: ProgressiveInput) -> RolloutState:
    """Return the next state of the rollout, for a state that is aligned with the newest spec."""
    if not state.candidate:
        return state
    rules, now = inputs.rules, inputs.now
    insisted = state.candidate == rules.promote
    if state.switched:
        if not insisted and not inputs.candidate.ready and inputs.stable.ready:
            return state.rolled_back(
                LOST, "No replica of it was ready any more after the switch.", now
            )
        over = now - state.switched >= timedelta(seconds=seconds(rules.blue_green.keep_old))
        return state.promoted() if over else state
    if not insisted and (inputs.failure or inputs.smoke_passed is False):
        reason = BROKEN if inputs.failure else CHECK_FAILED
        return state.rolled_back(reason, inputs.failure or inputs.smoke_problem, now)
    may = insisted or (inputs.smoke_passed and not rules.hold)
    return replace(state, switched=now) if may and complete(state, inputs) else state


def complete(state: RolloutState, inputs: ProgressiveInput) -> bool:
    """Tell whether all replicas of the candidate serve."""
    candidate = inputs.candidate
    return candidate.revision == state.candidate and candidate.serves(inputs.wanted)


def sizes(state: RolloutState, inputs: ProgressiveInput) -> tuple[int, int]:
    """Return the replicas of the stable set and of the candidate; the old set keeps its size."""
    if state.switched:
        return inputs.stable.wanted, inputs.wanted
    return inputs.wanted, inputs.wanted if state.candidate else 0


def traffic(state: RolloutState, inputs: ProgressiveInput) -> Traffic:
    """Return the distribution of requests over the sets for the present state."""
    if not state.switched:
        return stable_only(state, inputs)
    return Traffic({state.stable: 0, state.candidate_color: 100}, (state.candidate_color,))
