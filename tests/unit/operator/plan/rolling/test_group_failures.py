"""Failures of multi-pod replicas: the kept cause, the backoff, and the stop."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.status import GroupStatus
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.rolling import group_failures as gangs
from deepseek_operator.plan.sizing.parallelism import GROUPS
from deepseek_operator.plan.state.loading import Loading
from deepseek_operator.plan.state.observed import DeploymentView, Observed, PodView, replicas
from tests.support.operator.resources import LATER, SETTINGS, pod, resource

START = datetime(2026, 1, 1, tzinfo=UTC)
DIED = "rank 1 on node-b: out of GPU memory"
KILLED = "rank 1 on node-b has ended without an error message, most likely killed"
FOLLOWED = "rank 1 of this model has ended, so rank 0 ends too: see its log"


def ended(
    at: float, message: str = DIED, group: int = 0, index: int = 1, made: float = 0, code: int = 1
) -> PodView:
    """Return a pod of a replica whose server ended `at` seconds after START."""
    return PodView(
        name=f"r1-gang-{group}" + (f"-{index}" if index else ""),
        scheduled=True,
        exited=(code, "Error", message),
        group=group,
        index=index,
        created=START + timedelta(seconds=made),
        ended=START + timedelta(seconds=at),
    )


def known(
    *failed: PodView, before: list[GroupStatus] | None = None, restarts: int = 5, size: int = 2
) -> list[GroupStatus]:
    return gangs.groups(before or [], failed, 1, size, restarts)


def after(times: list[float], restarts: int = 5) -> GroupStatus:
    """Return the status after failures at these times, of pods created a second before each."""
    found: list[GroupStatus] = []
    for time in times:
        found = known(ended(time, made=time - 1), before=found, restarts=restarts)
    (item,) = found
    return item


def test_first_cause_is_kept_in_any_order_of_observation() -> None:
    worker, leader = ended(10), ended(11, FOLLOWED, index=0, code=4)
    (seen_together,) = known(worker, leader)
    (consequence,) = known(leader)
    (then_the_cause,) = known(worker, leader, before=[consequence])
    assert seen_together.cause == then_the_cause.cause
    assert seen_together.cause.pod == "r1-gang-0-1"
    assert seen_together.cause.message == DIED
    assert then_the_cause.restarts == 1


def test_consequence_with_an_earlier_time_is_not_the_cause() -> None:
    (item,) = known(ended(10, FOLLOWED, index=0), ended(11))
    assert item.cause.message == DIED


def test_a_pod_that_is_killed_while_it_is_deleted_for_a_failure_is_not_its_cause() -> None:
    silent = "rank 1 on node-b has sent no heartbeat for 30 s, so rank 0 ends too"
    first = known(ended(10, silent, index=0, code=5))
    killed = replace(ended(90, "waiting for the leader", code=137), leaving=True)
    (item,) = known(killed, before=first)
    assert item.cause.message == silent
    # A pod that failed before its deletion may be the cause.
    (item,) = known(replace(ended(9), leaving=True), before=first)
    assert item.cause.message == DIED


def test_same_pod_ending_again_is_the_same_failure() -> None:
    first = known(ended(10))
    (item,) = known(ended(14, "again"), before=first)
    assert (item.restarts, item.cause.message) == (1, DIED)


def test_first_failure_restarts_at_once_and_later_ones_after_a_backoff() -> None:
    assert after([10]).held_until is None
    assert after([10, 100]).held_until == "2026-01-01T00:01:50Z"  # 10 s after it
    assert after([10, 100, 200]).held_until == "2026-01-01T00:03:40Z"  # 20 s


def test_replica_over_its_restart_budget_stops_alone() -> None:
    item = after([10, 100, 200], restarts=2)
    assert item.stopped
    assert item.held_until is None
    both = known(ended(300, group=1, made=250), before=[item], restarts=2)
    assert [group.stopped for group in both] == [True, False]
    assert "3 times within an hour" in gangs.describe(item)
    assert DIED in gangs.describe(item)


def test_failures_older_than_an_hour_do_not_count() -> None:
    assert after([10, 100, 4000]).restarts == 1


def test_new_spec_clears_failures() -> None:
    item = after([10, 100, 200], restarts=2)
    assert gangs.groups([item], [], 2, 2, 2) == []
    assert gangs.holds([item], 1)["groups"].keys() == {"0"}
    assert gangs.holds([item], 2) == {"groups": {}}


def test_failures_of_a_removed_replica_are_dropped() -> None:
    assert known(ended(10, group=1), size=1) == []


@given(
    st.lists(st.floats(min_value=1, max_value=20_000), min_size=1, max_size=30, unique=True),
    st.integers(min_value=0, max_value=8),
)
def test_replica_stops_exactly_when_an_hour_has_too_many_failures(
    times: list[float], restarts: int
) -> None:
    times = sorted({round(time) * 2.0 for time in times})
    item = after(times, restarts)
    recent = [time for time in times if time > times[-1] - 3600]
    # Only as many failures are kept as the decision needs.
    assert item.restarts == min(len(recent), restarts + 2)
    assert item.stopped == (len(recent) > restarts)
    assert len(item.failures) <= restarts + 1


def served(status: dict[str, Any], **observed: Any) -> tuple[DesiredState, Any]:
    body = resource(status, replicas=2, parallelism={"tensor": 2, "maxRestarts": 1})
    seen = Observed(served=frozenset({GROUPS}), **observed)
    decision = decide(body, SETTINGS, seen)
    assert isinstance(decision, DesiredState), decision
    return decision, report(body, decision, seen, LATER)


def pods_of(group: int, ready: bool) -> tuple[PodView, ...]:
    return tuple(
        PodView(
            f"r1-gang-{group}-{index}",
            ready=ready,
            running=True,
            scheduled=True,
            group=group,
            index=index,
        )
        for index in range(2)
    )


def test_stopped_replica_is_reported_and_held_while_the_other_serves() -> None:
    workload = DeploymentView(wanted=2, replicas=2, updated=2, settled=True)
    pods = (*pods_of(0, ready=True), *pods_of(1, ready=False))
    failed = (ended(10, group=1), ended(100, group=1, made=90))
    _, first = served({}, deployment=workload, pods=pods, failed=failed[:1])
    assert [item.reason for item in first.events].count(findings.REPLICA_FAILED) == 1
    _, second = served(first.status, deployment=workload, pods=pods, failed=failed[1:])
    ready = next(item for item in second.status["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == findings.REPLICA_STOPPED
    assert DIED in ready["message"]
    assert second.status["phase"] == "Degraded: replica 1 was stopped; 1 of 2 replicas serve"
    desired, _ = served(second.status, deployment=workload, pods=pods)
    assert desired.holds is not None
    assert list(desired.holds["groups"]) == ["1"]
    # A change of the holds file does not replace pods.
    assert desired.config_hash == served({})[0].config_hash


def test_backoff_is_not_reported_after_its_end() -> None:
    workload = DeploymentView(wanted=2, replicas=2, updated=2, settled=True)
    failed = (ended(10), ended(100, made=90))
    status: dict[str, Any] = {}
    for last in failed:
        body = resource(status, replicas=2, parallelism={"tensor": 2})
        seen = Observed(
            served=frozenset({GROUPS}), deployment=workload, failed=(last,), pods=pods_of(0, False)
        )
        decision = decide(body, SETTINGS, seen)
        now = "2026-01-01T00:01:45Z"
        status = report(body, decision, seen, now).status
    assert status["phase"].startswith("Replica 0 restarts at 2026-01-01T00:01:50Z")
    assert "restarts at" not in report(body, decision, seen, LATER).status["phase"]


def test_pods_of_a_replica_count_as_one() -> None:
    half = (pods_of(0, ready=True)[0], PodView("r1-gang-0-1", unscheduled="no", group=0, index=1))
    (replica,) = replicas(half)
    assert (replica.ready, replica.scheduled, replica.unscheduled) == (False, False, "no")
    assert Observed(pods=(*pods_of(0, True), *pods_of(1, False))).ready == 1


def test_groups_are_counted_by_the_template_of_their_leaders() -> None:
    notes = {"deepseek-operator.io/template-hash": "new"}
    body = {"metadata": {"annotations": notes}, "spec": {"replicas": 2}}
    pods = [
        PodView("a", group=0, index=0, template="new"), PodView("b", group=0, index=1),
        PodView("c", group=1, index=0, template="old"),
    ]  # fmt: skip
    view = DeploymentView.of_groups(body, pods)
    assert (view.wanted, view.replicas, view.updated, view.rolling) == (2, 2, 1, True)


def waiting(*placed: int, size: int = 4) -> Observed:
    """Return replicas of `size` pods, each with the given number of scheduled pods."""
    pods = [
        PodView(f"r1-gang-{group}-{index}", scheduled=index < number, group=group, index=index,
                unscheduled=None if index < number else "0/40 nodes are available")
        for group, number in enumerate(placed)
        for index in range(size)
    ]  # fmt: skip
    return Observed(served=frozenset({GROUPS}), pods=tuple(pods))


def test_replicas_that_block_each_other_get_a_suggestion() -> None:
    body = resource(replicas=3, parallelism={"tensor": 4})
    seen = waiting(4, 2, 3)
    decision = decide(body, SETTINGS, seen)
    assert isinstance(decision, DesiredState), decision
    found = findings.find(decision, seen)
    assert found is not None
    assert found.reason == findings.REPLICAS_BLOCK_EACH_OTHER
    assert "5 scheduled pods would suffice for 1 more complete replica(s)" in found.message
    assert "Set replicas to 2" in found.message
    # A single waiting replica is not blocked by others.
    alone = findings.find(decision, waiting(4, 2, 0))
    assert alone is not None
    assert alone.reason != findings.REPLICAS_BLOCK_EACH_OTHER


def gang_ready(status: dict[str, Any]) -> tuple[str, str, str]:
    (found,) = (item for item in status["conditions"] if item["type"] == "GangReady")
    return found["status"], found["reason"], found["message"]


def loading(answer: dict[str, Any]) -> tuple[PodView, ...]:
    loading = Loading.of({"status": "loading", "detail": "loading", "gang": answer}, START, None)
    return (replace(pods_of(0, False)[0], loading=loading), pods_of(0, False)[1])


def test_network_result_is_reported_and_kept_while_serving() -> None:
    fast = {"transport": "IB", "gigabytesPerSecond": 41.26}
    _, result = served({}, pods=loading(fast))
    assert gang_ready(result.status)[:2] == ("True", gangs.MET)
    assert "Transport IB, all-reduce bandwidth 41.3 GB/s" in gang_ready(result.status)[2]
    _, later = served(result.status, pods=pods_of(0, ready=True))
    assert "Transport IB, all-reduce bandwidth 41.3 GB/s" in gang_ready(later.status)[2]


def test_slow_network_is_reported_with_its_pair_and_kept_while_serving() -> None:
    slow = {"transport": "Socket", "gigabytesPerSecond": 0.1, "problem": "node-a and node-b: 0.1"}
    _, result = served({}, pods=loading(slow))
    assert gang_ready(result.status) == ("False", gangs.NETWORK_TOO_SLOW, "node-a and node-b: 0.1")
    _, later = served(result.status, pods=pods_of(0, ready=True))
    assert gang_ready(later.status)[0] == "False"


def test_pods_that_did_not_meet_are_reported() -> None:
    failed = ended(10, "rank 1 on node-b did not connect within 600 s", code=gangs.EXIT_GANG)
    _, result = served({}, pods=pods_of(0, ready=False), failed=(failed,))
    assert gang_ready(result.status)[:2] == ("False", gangs.PREFLIGHT_FAILED)
    assert "node-b did not connect" in gang_ready(result.status)[2]


def test_gang_ready_is_unknown_before_the_pods_connect() -> None:
    _, result = served({}, pods=pods_of(0, ready=False))
    assert gang_ready(result.status)[0] == "Unknown"


def test_pod_that_ended_with_another_one_is_not_the_finding() -> None:
    body = resource(replicas=1, parallelism={"tensor": 2})
    leader = replace(pods_of(0, False)[0], running=False, exited=(4, "Error", FOLLOWED))
    for worker, reason in (
        (replace(pods_of(0, False)[1], running=False, exited=(1, "Error", DIED)), "ServerCrashed"),
        (
            replace(pods_of(0, False)[1], running=False, exited=(4, "Error", KILLED)),
            "ReplicaFailed",
        ),
        (pods_of(0, False)[1], "Loading"),
    ):
        seen = Observed(served=frozenset({GROUPS}), pods=(leader, worker))
        decision = decide(body, SETTINGS, seen)
        assert isinstance(decision, DesiredState), decision
        found = findings.find(decision, seen)
        assert found is not None
        assert found.reason == reason


def test_server_that_ends_with_its_deleted_pod_has_not_failed() -> None:
    def ended_at(time: str, code: int = 1, **deleted: Any) -> datetime | None:
        state = {"terminated": {"exitCode": code, "reason": "-", "finishedAt": time}}
        body = pod(state=state)
        body["metadata"] |= deleted
        return PodView.of(body).ended

    # Deleted at 00:05:00, with a grace period of a minute.
    stop = {"deletionTimestamp": "2026-01-01T00:06:00Z", "deletionGracePeriodSeconds": 60}
    assert ended_at("2026-01-01T00:05:10Z", **stop) is None
    # A failure before the deletion counts: it may be the reason for it.
    assert ended_at("2026-01-01T00:04:50Z", **stop) is not None
    assert ended_at("2026-01-01T00:05:10Z") is not None
    # A worker that ended with its leader, before its own deletion.
    assert ended_at("2026-01-01T00:05:10Z", code=0) is None
    # The grace period is over, and a finalizer keeps the pod.
    held = {"deletionTimestamp": "2026-01-01T00:05:20Z", "deletionGracePeriodSeconds": 0}
    assert ended_at("2026-01-01T00:05:10Z", code=0, **held) is None
