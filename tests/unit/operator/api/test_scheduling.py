"""Replicas that wait in a queue before the scheduler may look for nodes."""

from typing import Any

from deepseek_operator.plan.desired import validation as checks
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.state.observed import DeploymentView, Observed, PodView
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.status.conditions import condition
from deepseek_operator.render.children import children
from tests.support.operator.resources import LATER, NOW, SETTINGS, deployment, pod, resource

QUEUE = "kueue.x-k8s.io/queue-name"
SERVED = frozenset({"LocalQueue", "LeaderWorkerSet"})
QUEUED = {"scheduling": {"queue": "gpus"}}


def gated(name: str) -> dict[str, Any]:
    body = pod(name)
    body["status"]["conditions"][0] |= {
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastTransitionTime": NOW,
    }
    return body


def workload(**spec: Any) -> dict[str, Any]:
    decision = decide(resource(**spec), SETTINGS, Observed(served=SERVED))
    assert isinstance(decision, Target)
    (found,) = (
        item for item in children(decision) if item["kind"] in ("Deployment", "LeaderWorkerSet")
    )
    return dict(found)


def test_what_runs_the_pods_is_in_the_queue_whatever_it_is() -> None:
    one, several = workload(**QUEUED), workload(**QUEUED, parallelism={"tensor": 2})
    assert [one["kind"], several["kind"]] == ["Deployment", "LeaderWorkerSet"]
    assert one["metadata"]["labels"][QUEUE] == several["metadata"]["labels"][QUEUE] == "gpus"
    assert QUEUE not in workload()["metadata"]["labels"]


def test_a_queue_changes_no_pod() -> None:
    assert workload(**QUEUED)["spec"] == workload()["spec"]


def test_without_kueue_it_is_refused_with_the_command_that_installs_it() -> None:
    refusal = decide(resource(**QUEUED), SETTINGS, Observed())
    assert isinstance(refusal, Refusal)
    assert refusal.reason == checks.API_MISSING
    assert "scheduling.queue needs the kind LocalQueue" in refusal.message
    assert "kubectl apply" in refusal.message


def status(spec: dict[str, Any], *pods: dict[str, Any]) -> dict[str, Any]:
    body = resource(replicas=len(pods), **spec)
    observed = Observed(
        DeploymentView.of(deployment(len(pods))),
        tuple(PodView.of(item) for item in pods),
        served=SERVED,
    )
    return report(body, decide(body, SETTINGS, observed), observed, LATER).status


def test_it_is_told_how_many_wait_and_where_to_look() -> None:
    said = status(QUEUED, pod("r1-a", ready=True, state={"running": {}}), gated("r1-b"))
    scheduled = condition(said, "Scheduled")
    assert scheduled["reason"] == findings.WAITING_IN_QUEUE
    assert scheduled["message"] == (
        "1 of 2 replicas wait in queue gpus and hold nothing meanwhile. They start as soon as they are "
        "admitted, which kubectl get workloads tells about."
    )
    assert "1 of 2 replicas wait in queue gpus" in said["phase"]


def test_a_gate_of_somebody_elses_is_called_a_gate() -> None:
    assert "wait in a scheduling gate" in condition(status({}, gated("r1-a")), "Ready")["message"]


def test_a_part_of_a_replica_that_may_not_start_is_not_taken_for_one_that_finds_no_node() -> None:
    body = gated("r1-gang-0-1")
    body["metadata"]["labels"] = {
        "leaderworkerset.sigs.k8s.io/group-index": "0",
        "leaderworkerset.sigs.k8s.io/worker-index": "1",
    }
    said = status({**QUEUED, "parallelism": {"tensor": 2}}, body)
    assert condition(said, "Ready")["reason"] == findings.WAITING_IN_QUEUE
