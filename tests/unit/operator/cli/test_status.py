"""Output of `deepseek status`."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deepseek_operator.cli.status import page
from deepseek_operator.cli.status.state import follow, summarize
from deepseek_operator.cluster.errors import UnreachableError
from tests.support.operator.resources import NOW, resource

Object = dict[str, Any]
CLOCK = datetime(2026, 1, 1, 0, 2, 3, tzinfo=UTC)
CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "WaitingForGPU",
    "message": "Node a has 8, all are held.",
    "observedGeneration": 1,
    "lastTransitionTime": NOW,
}
STATUS = {
    "observedGeneration": 1,
    "phase": "Waiting for 8 x nvidia-h200",
    "endpoint": "http://r1.apps.svc",
    "desiredReplicas": 2,
    "readyReplicas": 1,
    "conditions": [CONDITION],
}


def event(reason: str, when: str, uid: str = "u-1") -> Object:
    return {
        "involvedObject": {"uid": uid},
        "type": "Normal",
        "reason": reason,
        "message": f"about {reason}",
        "lastTimestamp": when,
    }


def shown(capsys: pytest.CaptureFixture[str], item: Object) -> str:
    page.page(item, CLOCK)
    return capsys.readouterr().out


def test_the_status_is_passed_on_unchanged() -> None:
    found = summarize(resource(STATUS), [])
    assert found["status"] == STATUS
    assert found["current"]


def test_events_are_filtered_by_uid_and_sorted_by_time() -> None:
    events = [event("B", "2026-01-01T00:01:00Z"), event("A", NOW), event("Old", NOW, "u-0")]
    found = summarize(resource(STATUS), events)["events"]
    assert [item["reason"] for item in found] == ["A", "B"]


def test_the_page_of_a_resource(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, summarize(resource(STATUS), [event("Scaled", "2026-01-01T00:01:00Z")]))
    for message in (
        "apps/r1: deepseek-ai/DeepSeek-R1",
        "phase     Waiting for 8 x nvidia-h200",
        "replicas  1/2 ready",
        "endpoint  http://r1.apps.svc",
        "2m3s",
        "Node a has 8, all are held.",
        "1m3s",
        "about Scaled",
    ):
        assert message in text


def test_the_page_shows_rollout_and_failed_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    cause = {"time": NOW, "pod": "r1-0-1", "exitCode": 1, "message": "Xid 79"}
    group = {"index": 0, "restarts": 3, "cause": cause, "heldUntil": "2026-01-01T00:10:00Z"}
    rollout = {
        "strategy": "canary",
        "step": 1,
        "steps": 2,
        "weight": 25,
        "updatedReplicas": 1,
        "message": "It is compared.",
        "analysis": {"verdict": "pass", "message": "no worse", "requests": 9},
    }
    text = shown(capsys, summarize(resource({**STATUS, "rollout": rollout, "groups": [group]}), []))
    assert (
        "canary, step 1 of 2, 25 % of requests, 1 updated: It is compared. pass: no worse" in text
    )
    assert "back-off until 2026-01-01T00:10:00Z" in text
    assert "r1-0-1, exit code 1: Xid 79" in text


@pytest.mark.parametrize(
    ("status", "generation", "message"),
    [
        ({"observedGeneration": -1}, 1, "not reconciled yet"),
        (STATUS, 2, "status of an older spec; Waiting for 8 x nvidia-h200"),
    ],
)
def test_the_status_of_an_older_spec_is_marked(
    status: Object, generation: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in shown(capsys, summarize(resource(status, generation), []))


def test_unreadable_events_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    item = summarize(resource(STATUS), None)
    assert item["events"] is None
    assert "permission to list events" in shown(capsys, item)


def test_the_overview_shows_ready_and_desired_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    page.overview([summarize(resource(STATUS), []), summarize(resource({}), [])])
    assert "1/2" in (text := capsys.readouterr().out)
    assert "0/?" in text


@pytest.mark.parametrize(
    ("seconds", "message"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3723, "1h2m"), (90_000, "1d1h"), (86_401, "1d"), (-5, "0s")],
)  # fmt: skip
def test_age_has_at_most_two_units(seconds: int, message: str) -> None:
    assert page.age("2026-01-01T00:02:03Z", CLOCK + timedelta(seconds=seconds)) == message


@pytest.mark.looptime
async def test_follow_reports_each_change_once_and_retries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers: list[Any] = [[{"a": 1}], [{"a": 1}], UnreachableError("away"), [{"a": 1}], [{"a": 2}]]
    shown: list[list[Object]] = []

    async def look() -> list[Object]:
        if not answers:
            raise asyncio.CancelledError
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: list[Object] = answer
        return found

    with pytest.raises(asyncio.CancelledError):
        await follow(look, shown.append)
    assert shown == [[{"a": 1}], [{"a": 2}]]
    assert capsys.readouterr().err == "away; retrying\n"


async def test_follow_fails_if_the_first_read_fails() -> None:
    async def look() -> list[Object]:
        raise UnreachableError("away")

    with pytest.raises(UnreachableError):
        await follow(look, lambda _: None)
