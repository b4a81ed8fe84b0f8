"""Multi-pod replicas against a real API server: a missing API, edits, failures, a canary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.cluster.target import Target
from tests.support.foreign_kind import ForeignKind
from tests.support.kube import Kube, eventually, resource
from tests.support.operator_process import OperatorProcess

# The operator polls for it every ten seconds.
GROUPS = ForeignKind("LeaderWorkerSet", "leaderworkerset.x-k8s.io", "v1")
SETS = GROUPS.name


@pytest.fixture
def api(api_server: Target) -> Iterator[ForeignKind]:
    yield GROUPS
    GROUPS.remove(api_server)


def gang(**spec: Any) -> dict[str, Any]:
    parallelism = {"tensor": 2, **spec.pop("parallelism", {})}
    return resource("r1", parallelism=parallelism, **spec)


def template(kube: Kube) -> dict[str, Any]:
    groups = kube.get(SETS, "r1-gang")
    assert groups is not None
    return dict(groups["spec"]["leaderWorkerTemplate"])


def test_groups_follow_their_api_and_their_field(
    kube: Kube, operator: OperatorProcess, api: ForeignKind
) -> None:
    kube.apply(gang())
    reported = eventually("a verdict", lambda: kube.condition("r1", "Accepted"))
    assert (reported["status"], reported["reason"]) == ("False", "ApiMissing")
    assert "kubectl apply" in reported["message"]

    api.install(kube.target)
    eventually("the groups", lambda: kube.get(SETS, "r1-gang"))
    assert template(kube)["size"] == 2
    assert kube.get("deployment", "r1") is None

    size = '{"spec": {"leaderWorkerTemplate": {"size": 3}}}'
    kube.run("patch", SETS, "r1-gang", "--type=merge", "--patch", size)
    eventually("the size is repaired", lambda: template(kube)["size"] == 2)
    kube.apply(gang(replicas=3))
    eventually(
        "three groups", lambda: (kube.get(SETS, "r1-gang") or {})["spec"].get("replicas") == 3
    )
    kube.run("delete", SETS, "r1-gang")
    eventually("they are back", lambda: kube.get(SETS, "r1-gang"))

    kube.apply(resource("r1"))
    eventually("one pod for each replica", lambda: kube.get("deployment", "r1"))
    eventually("no groups", lambda: kube.get(SETS, "r1-gang") is None)
    kube.apply(gang())
    eventually("groups again", lambda: kube.get(SETS, "r1-gang"))
    eventually("no Deployment", lambda: kube.get("deployment", "r1") is None)
    assert "Traceback" not in operator.log


def pod(kube: Kube, index: int, suffix: str) -> dict[str, Any]:
    """Return a pod as LeaderWorkerSet would create it; without a node it never runs."""
    labels = {
        "app.kubernetes.io/managed-by": "deepseek-operator",
        "deepseek-operator.io/name": "r1",
        "leaderworkerset.sigs.k8s.io/group-index": "0",
        "leaderworkerset.sigs.k8s.io/worker-index": str(index),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"r1-gang-0-{suffix}",
            "labels": labels,
            "annotations": template(kube)["leaderTemplate"]["metadata"]["annotations"],
        },
        # No controller creates default service accounts here.
        "spec": {
            "serviceAccountName": "r1",
            "automountServiceAccountToken": False,
            "containers": [{"name": "server", "image": "none"}],
        },
    }


def end(kube: Kube, name: str, time: str, message: str) -> None:
    terminated = {
        "exitCode": 1, "reason": "Error", "finishedAt": time, "startedAt": time, "message": message
    }  # fmt: skip
    server = {
        "name": "server", "image": "none", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"terminated": terminated},
    }  # fmt: skip
    status = json.dumps({"status": {"phase": "Running", "containerStatuses": [server]}})
    kube.run("patch", "pod", name, "--subresource=status", "--type=merge", "--patch", status)


def groups_of(kube: Kube) -> list[dict[str, Any]]:
    return list(((kube.get("dsd", "r1") or {}).get("status") or {}).get("groups", []))


def holds(kube: Kube) -> dict[str, Any]:
    data = (kube.get("configmap", "r1") or {})["data"]
    return dict(json.loads(data["holds.json"])["groups"])


def test_the_first_cause_outlives_its_pod_and_the_stop_holds_the_next_pods(
    kube: Kube, operator: OperatorProcess, api: ForeignKind
) -> None:
    api.install(kube.target)
    kube.apply(gang(parallelism={"maxRestarts": 0}))
    eventually("the groups", lambda: kube.get(SETS, "r1-gang"))
    assert holds(kube) == {}
    kube.apply(pod(kube, 0, "leader"), pod(kube, 1, "worker"))
    end(kube, "r1-gang-0-leader", "2099-01-01T00:00:05Z", "rank 1 has ended, so rank 0 ends too")
    eventually("a failure", lambda: groups_of(kube))
    end(kube, "r1-gang-0-worker", "2099-01-01T00:00:06Z", "out of memory")
    eventually("its cause", lambda: groups_of(kube)[0]["cause"]["message"] == "out of memory")
    kube.run("delete", "pod", "--all", "--force", "--grace-period=0")
    eventually("the stop reaches the pods", lambda: holds(kube).keys() == {"0"})
    eventually("a condition", lambda: kube.condition("r1").get("reason") == "ReplicaStopped")
    assert "out of memory" in kube.condition("r1")["message"]
    assert "Replica 0 was stopped" in kube.run("get", "dsd", "r1")
    (group,) = groups_of(kube)
    assert (group["restarts"], group["stopped"]) == (1, True)
    assert "ReplicaFailed" in {event["reason"] for event in kube.events("r1")}

    kube.apply(gang(parallelism={"maxRestarts": 1}))
    eventually("an edit lets it start", lambda: holds(kube) == {})
    eventually("the status drops the failure", lambda: not groups_of(kube))


def test_a_canary_of_several_pods_has_groups_of_its_own(
    kube: Kube, operator: OperatorProcess, api: ForeignKind
) -> None:
    api.install(kube.target)
    canary = {"strategy": "canary"}
    kube.apply(gang(rollout=canary))
    eventually("the groups", lambda: kube.get(SETS, "r1-gang"))
    for index, suffix in ((0, "lead"), (1, "work")):
        kube.apply(pod(kube, index, suffix))
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready")]
        status = json.dumps({"status": {"conditions": conditions}})
        kube.run("patch", "pod", f"r1-gang-0-{suffix}", "--subresource=status", "-p", status)
    eventually("ready", lambda: kube.condition("r1").get("status") == "True")
    before = template(kube)
    kube.apply(gang(rollout=canary, engine={"args": ["--other"]}))
    green = eventually("a second set", lambda: kube.get(SETS, "r1-green-gang"))
    assert green["spec"]["replicas"] == 1
    assert "--other" in json.dumps(green["spec"])
    assert template(kube) == before
    assert kube.condition("r1")["reason"] == "RollingOut"
    # Replicas of one pod can't be compared with replicas of two behind one Service.
    kube.apply(resource("r1", rollout=canary))
    eventually("refused", lambda: kube.condition("r1", "Accepted").get("reason") == "CanaryApart")
    assert template(kube) == before
    kube.apply(resource("r1", rollout={"strategy": "blueGreen"}))
    eventually("a second set of one pod per replica", lambda: kube.get("deployment", "r1-green"))
    eventually("no second groups", lambda: kube.get(SETS, "r1-green-gang") is None)
    service = kube.get("service", "r1")
    assert service is not None
    assert service["spec"]["selector"]["app.kubernetes.io/instance"] == "r1"
    assert "Traceback" not in operator.log
