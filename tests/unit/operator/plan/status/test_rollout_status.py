"""Status, phase and Events of canary and blue-green rollouts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.api.status import RolloutStatus
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.progressive.analysis import Verdict
from deepseek_operator.plan.progressive.progression import ProgressiveInput, SetView
from deepseek_operator.plan.progressive.rollout_state import Failure, RolloutState
from deepseek_operator.plan.state.labels import BLUE, GREEN
from deepseek_operator.plan.state.observed import DeploymentView, Observed, PodView
from deepseek_operator.plan.status.conditions import condition, reported
from deepseek_operator.plan.status.events import events
from deepseek_operator.plan.status.rollout_status import rollout_status
from tests.support.operator.resources import NOW, SETTINGS, resource
from tests.support.operator.simulated_progression import START

STEPS = [{"weight": 10, "pause": "2m"}, {"weight": 50, "pause": "3m"}]
CANARY: dict[str, Any] = {"strategy": "canary", "canary": {"steps": STEPS}}
COUNTED = Verdict("pass", "No worse over 250 requests.", 250)
FAILED = Failure("b", "AnalysisFailed", "Failed requests: 9.0%. Much.", NOW)


def inputs(ready: int = 1, **rules: Any) -> ProgressiveInput:
    return ProgressiveInput(
        rules=Rollout.model_validate(CANARY | rules),
        newest="b",
        wanted=3,
        stable=SetView("a", True, 3, 3, 3, 3),
        candidate=SetView("b", True, 1, 1, 1, ready),
        now=START,
    )


def reported_rollout(
    state: RolloutState, case: ProgressiveInput, verdict: Verdict | None = None
) -> RolloutStatus:
    found = rollout_status(state, case, verdict, None, None, NOW)
    assert found is not None
    return found


def status(
    change: RolloutStatus | None, extra_ready: int = 0, revision: str = "a"
) -> dict[str, Any]:
    """Return the status of a resource with three serving replicas."""
    desired = decide(resource(replicas=3), SETTINGS, Observed())
    assert isinstance(desired, DesiredState)
    desired = replace(desired, revision=revision)
    pods = tuple(PodView(f"p{n}", ready=True, running=True, scheduled=True) for n in range(3))
    deployment = DeploymentView(wanted=3, replicas=3, updated=3, settled=True)
    observed = Observed(deployment=deployment, pods=pods, extra_ready=extra_ready, change=change)
    return reported(desired, observed, {}, 1, NOW)


def test_canary_reports_step_weight_and_figures() -> None:
    state = RolloutState(BLUE, "a", "b", 0, START)
    change = reported_rollout(state, inputs(), COUNTED)
    assert (change.strategy, change.revision, change.stable_revision) == ("canary", "b", "a")
    assert (change.step, change.steps, change.weight) == (1, 2, 25)
    assert change.analysis is not None
    assert (change.analysis.verdict, change.analysis.requests) == ("pass", 250)
    assert "Without a route the pod counts decide: it receives 25 %" in change.message
    assert status(change, 1)["phase"] == ("Canary 1/2 (25 %), revision b: comparing; 3 of 3 serve")


def test_weight_is_that_of_the_step_with_a_route() -> None:
    routed = replace(inputs(), routed=True)
    change = reported_rollout(RolloutState(BLUE, "a", "b", 0, START), routed, COUNTED)
    assert change.weight == 10
    assert "Without a route" not in change.message


@pytest.mark.parametrize(("state", "case", "reason"), [
    (RolloutState(BLUE, "a", "b"), inputs(ready=0), "NewSetStarts"),
    (RolloutState(BLUE, "a", "b"), inputs(), "NewSetStarts"),
    (RolloutState(BLUE, "a", "b", 0, START - timedelta(minutes=9)), inputs(hold=True), "Held"),
    (RolloutState(BLUE, "a", "b", 0, START), inputs(hold=True), "Comparing"),
    (RolloutState(BLUE, "a", "b", 2), inputs(), "TakesOver"),
    (RolloutState(BLUE, "a", "b"), inputs(strategy="blueGreen"), "NewSetStarts"),
    (RolloutState(BLUE, "a", "b", switched=START), inputs(strategy="blueGreen"), "Switched"),
])  # fmt: skip
def test_every_state_has_a_reason_and_a_phase(
    state: RolloutState, case: ProgressiveInput, reason: str
) -> None:
    change = reported_rollout(state, case, COUNTED)
    assert change.reason == reason
    found = status(change)
    assert "revision b" in found["phase"]
    assert condition(found, "Ready")["reason"] == "RollingOut"
    assert condition(found, "Progressing")["status"] == "True"
    assert condition(found, "Stalled")["status"] == "False"


def test_rollback_is_reported_until_the_spec_changes() -> None:
    state = RolloutState(BLUE, "a", failed=FAILED)
    found = status(reported_rollout(state, inputs()))
    assert found["phase"] == "Rolled back: Failed requests: 9.0%; 3 of 3 serve"
    for kind, holds in (("Progressing", "False"), ("Ready", "False"), ("Stalled", "True")):
        assert condition(found, kind)["status"] == holds
        assert condition(found, kind)["reason"] == "RolledBack"
    assert condition(found, "Available")["status"] == "True"
    assert rollout_status(state, replace(inputs(), newest="a"), None, None, None, NOW) is None


def test_each_step_and_the_end_emit_one_event() -> None:
    first = status(reported_rollout(RolloutState(BLUE, "a", "b", 0, START), inputs(), COUNTED))
    more = replace(COUNTED, message="No worse over 260 requests.", samples=260)
    again = status(reported_rollout(RolloutState(BLUE, "a", "b", 0, START), inputs(), more))
    second = status(reported_rollout(RolloutState(BLUE, "a", "b", 1, START), inputs(), COUNTED))
    back = status(reported_rollout(RolloutState(BLUE, "a", failed=FAILED), inputs()))
    done = status(None)
    assert [item.reason for item in events(done, first)] == ["Comparing"]
    assert events(first, again) == []
    assert [item.reason for item in events(first, second)] == ["Comparing"]
    assert [(item.reason, item.warning) for item in events(second, back)] == [("RolledBack", True)]
    (end,) = events(second, status(None, revision="b"))
    assert (end.reason, end.message) == ("RolloutFinished", "Revision b is now stable.")


def test_start_time_is_kept() -> None:
    state = RolloutState(BLUE, "a", "b")
    first = reported_rollout(state, inputs())
    later = rollout_status(state, inputs(), None, None, first, "2027-01-01T00:00:00Z")
    assert later is not None
    assert later.start_time == first.start_time


def test_reverted_spec_withdraws_the_rollout() -> None:
    first = status(reported_rollout(RolloutState(GREEN, "a", "b"), inputs()))
    (end,) = events(first, status(None))
    assert (end.reason, end.message) == (
        "RolloutWithdrawn",
        "Revision a keeps serving: the spec was reverted to it.",
    )


def test_failures_of_a_replaced_set_are_dropped() -> None:
    """Groups are identified by index, which the successor set shares."""
    failed = {
        "index": 0,
        "restarts": 1,
        "failures": [NOW],
        "cause": {"time": NOW, "pod": "r1-gang-0", "exitCode": 1, "message": "x"},
        "stopped": True,
        "generation": 1,
    }
    desired = decide(resource(), SETTINGS, Observed())
    assert isinstance(desired, DesiredState)
    before = {"groups": [failed]}
    assert reported(desired, Observed(), before, 1, NOW)["groups"][0]["index"] == 0
    successor = replace(desired, color=GREEN)
    assert "groups" not in reported(successor, Observed(), before, 1, NOW)
