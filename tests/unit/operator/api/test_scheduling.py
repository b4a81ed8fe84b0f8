"""Replicas in a Kueue queue, held back by scheduling gates."""

from typing import Any

from deepseek_operator.plan.desired import validation as checks
from deepseek_operator.plan.desired.desired_state import DesiredState
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
    assert isinstance(decision, DesiredState)
    (found,) = (
        item for item in children(decision) if item["kind"] in ("Deployment", "LeaderWorkerSet")
    )
    return dict(found)


def test_workload_of_any_kind_has_the_queue_label() -> None:
    one, several = workload(**QUEUED), workload(**QUEUED, parallelism={"tensor": 2})
    assert [one["kind"], several["kind"]] == ["Deployment", "LeaderWorkerSet"]
    assert one["metadata"]["labels"][QUEUE] == several["metadata"]["labels"][QUEUE] == "gpus"
    assert QUEUE not in workload()["metadata"]["labels"]


def test_queue_does_not_change_pods() -> None:
    assert workload(**QUEUED)["spec"] == workload()["spec"]


def test_queue_without_kueue_is_refused_with_the_install_command() -> None:
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


def test_queued_replicas_are_counted_in_the_message() -> None:
    reported = status(QUEUED, pod("r1-a", ready=True, state={"running": {}}), gated("r1-b"))
    scheduled = condition(reported, "Scheduled")
    assert scheduled["reason"] == findings.WAITING_IN_QUEUE
    assert scheduled["message"] == (
        "1 of 2 replicas wait in queue gpus and hold no resources. They start when they are admitted; "
        "see kubectl get workloads."
    )
    assert "1 of 2 replicas wait in queue gpus" in reported["phase"]


def test_other_scheduling_gate_is_reported_as_a_gate() -> None:
    assert "wait at a scheduling gate" in condition(status({}, gated("r1-a")), "Ready")["message"]


def test_gated_pod_of_a_replica_is_not_unschedulable() -> None:
    body = gated("r1-gang-0-1")
    body["metadata"]["labels"] = {
        "leaderworkerset.sigs.k8s.io/group-index": "0",
        "leaderworkerset.sigs.k8s.io/worker-index": "1",
    }
    reported = status({**QUEUED, "parallelism": {"tensor": 2}}, body)
    assert condition(reported, "Ready")["reason"] == findings.WAITING_IN_QUEUE
