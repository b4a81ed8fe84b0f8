"""Status, phase and Events of canary and blue-green rollouts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.api.status import RolloutStatus
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.progressive.analysis import Verdict
from deepseek_operator.plan.progressive.progression import SetView, Situation
from deepseek_operator.plan.progressive.rollout_state import Failure, Record
from deepseek_operator.plan.state.labels import BLUE, GREEN
from deepseek_operator.plan.state.observed import DeploymentView, Observed, PodView
from deepseek_operator.plan.status.conditions import condition, reported
from deepseek_operator.plan.status.events import news
from deepseek_operator.plan.status.rollout_status import said
from tests.support.operator.resources import NOW, SETTINGS, resource
from tests.support.operator.simulated_progression import START

STEPS = [{"weight": 10, "pause": "2m"}, {"weight": 50, "pause": "3m"}]
CANARY: dict[str, Any] = {"strategy": "canary", "canary": {"steps": STEPS}}
COUNTED = Verdict("pass", "No worse over 250 requests.", 250)
FAILED = Failure("b", "AnalysisFailed", "Failed requests: 9.0%. Much.", NOW)


def situation(ready: int = 1, **rules: Any) -> Situation:
    return Situation(
        rules=Rollout.model_validate(CANARY | rules),
        newest="b",
        wanted=3,
        stable=SetView("a", True, 3, 3, 3, 3),
        candidate=SetView("b", True, 1, 1, 1, ready),
        now=START,
    )


def status_of(record: Record, case: Situation, verdict: Verdict | None = None) -> RolloutStatus:
    found = said(record, case, verdict, None, None, NOW)
    assert found is not None
    return found


def status(change: RolloutStatus | None, beside: int = 0, revision: str = "a") -> dict[str, Any]:
    """Return the status of a resource with three serving replicas."""
    target = decide(resource(replicas=3), SETTINGS, Observed())
    assert isinstance(target, Target)
    target = replace(target, revision=revision)
    pods = tuple(PodView(f"p{n}", ready=True, running=True, scheduled=True) for n in range(3))
    deployment = DeploymentView(wanted=3, replicas=3, updated=3, settled=True)
    observed = Observed(deployment=deployment, pods=pods, beside=beside, change=change)
    return reported(target, observed, {}, 1, NOW)


def test_canary_reports_step_weight_and_figures() -> None:
    record = Record(BLUE, "a", "b", 0, START)
    change = status_of(record, situation(), COUNTED)
    assert (change.strategy, change.revision, change.stable_revision) == ("canary", "b", "a")
    assert (change.step, change.steps, change.weight) == (1, 2, 25)
    assert change.analysis is not None
    assert (change.analysis.verdict, change.analysis.requests) == ("pass", 250)
    assert "Without a route the pod counts decide: it receives 25 %" in change.message
    assert status(change, 1)["phase"] == ("Canary 1/2 (25 %), revision b: comparing; 3 of 3 serve")


def test_weight_is_that_of_the_step_with_a_route() -> None:
    routed = replace(situation(), routed=True)
    change = status_of(Record(BLUE, "a", "b", 0, START), routed, COUNTED)
    assert change.weight == 10
    assert "Without a route" not in change.message


@pytest.mark.parametrize(("record", "case", "reason"), [
    (Record(BLUE, "a", "b"), situation(ready=0), "NewSetStarts"),
    (Record(BLUE, "a", "b"), situation(), "NewSetStarts"),
    (Record(BLUE, "a", "b", 0, START - timedelta(minutes=9)), situation(hold=True), "Held"),
    (Record(BLUE, "a", "b", 0, START), situation(hold=True), "Comparing"),
    (Record(BLUE, "a", "b", 2), situation(), "TakesOver"),
    (Record(BLUE, "a", "b"), situation(strategy="blueGreen"), "NewSetStarts"),
    (Record(BLUE, "a", "b", switched=START), situation(strategy="blueGreen"), "Switched"),
])  # fmt: skip
def test_every_state_has_a_reason_and_a_phase(record: Record, case: Situation, reason: str) -> None:
    change = status_of(record, case, COUNTED)
    assert change.reason == reason
    found = status(change)
    assert "revision b" in found["phase"]
    assert condition(found, "Ready")["reason"] == "RollingOut"
    assert condition(found, "Progressing")["status"] == "True"
    assert condition(found, "Stalled")["status"] == "False"


def test_rollback_is_reported_until_the_spec_changes() -> None:
    record = Record(BLUE, "a", failed=FAILED)
    found = status(status_of(record, situation()))
    assert found["phase"] == "Rolled back: Failed requests: 9.0%; 3 of 3 serve"
    for kind, holds in (("Progressing", "False"), ("Ready", "False"), ("Stalled", "True")):
        assert condition(found, kind)["status"] == holds
        assert condition(found, kind)["reason"] == "RolledBack"
    assert condition(found, "Available")["status"] == "True"
    assert said(record, replace(situation(), newest="a"), None, None, None, NOW) is None


def test_each_step_and_the_end_emit_one_event() -> None:
    first = status(status_of(Record(BLUE, "a", "b", 0, START), situation(), COUNTED))
    more = replace(COUNTED, message="No worse over 260 requests.", samples=260)
    again = status(status_of(Record(BLUE, "a", "b", 0, START), situation(), more))
    second = status(status_of(Record(BLUE, "a", "b", 1, START), situation(), COUNTED))
    back = status(status_of(Record(BLUE, "a", failed=FAILED), situation()))
    done = status(None)
    assert [item.reason for item in news(done, first)] == ["Comparing"]
    assert news(first, again) == []
    assert [item.reason for item in news(first, second)] == ["Comparing"]
    assert [(item.reason, item.warning) for item in news(second, back)] == [("RolledBack", True)]
    (end,) = news(second, status(None, revision="b"))
    assert (end.reason, end.message) == ("RolloutFinished", "Revision b is now stable.")


def test_start_time_is_kept() -> None:
    record = Record(BLUE, "a", "b")
    first = status_of(record, situation())
    later = said(record, situation(), None, None, first, "2027-01-01T00:00:00Z")
    assert later is not None
    assert later.start_time == first.start_time


def test_reverted_spec_withdraws_the_rollout() -> None:
    first = status(status_of(Record(GREEN, "a", "b"), situation()))
    (end,) = news(first, status(None))
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
    target = decide(resource(), SETTINGS, Observed())
    assert isinstance(target, Target)
    before = {"groups": [failed]}
    assert reported(target, Observed(), before, 1, NOW)["groups"][0]["index"] == 0
    successor = replace(target, slot=GREEN)
    assert "groups" not in reported(successor, Observed(), before, 1, NOW)
