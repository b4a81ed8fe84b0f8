"""Autoscaling against a real API server: the autoscaler, and the owner of the replica count.

No controller runs here: only the operator and the tests make changes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.support.foreign_kind import ForeignKind
from tests.support.kube import Audit, Kube, eventually, resource
from tests.support.operator_process import OperatorProcess

SCALING = {"minReplicas": 1, "maxReplicas": 8, "scaleIn": {"stabilizationSeconds": 30}}


def replicas(kube: Kube) -> int:
    deployment = kube.get("deployment", "r1")
    return -1 if deployment is None else int(deployment["spec"]["replicas"])


def owners_of_replicas(kube: Kube) -> set[str]:
    text = kube.run("get", "deployment", "r1", "--show-managed-fields", "--output", "json")
    entries: list[dict[str, Any]] = json.loads(text)["metadata"]["managedFields"]
    return {
        entry["manager"] for entry in entries if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }


def generation(kube: Kube) -> int:
    """Return the Deployment's generation; every change of its spec or annotations raises it."""
    deployment = kube.get("deployment", "r1")
    assert deployment is not None
    return int(deployment["metadata"]["generation"])


def test_the_autoscaler_matches_the_spec(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1", scaling={**SCALING, "target": {"requestsPerReplica": 4}}))
    autoscaler = eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    spec = autoscaler["spec"]
    assert spec["metrics"] == [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": "deepseek_requests"},
                "target": {"type": "AverageValue", "averageValue": "4"},
            },
        }
    ]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 8)
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 30
    reported = eventually("a condition", lambda: kube.condition("r1", "Autoscaling"))
    assert reported["status"] == "Unknown"


def test_edits_keep_the_autoscaled_replicas(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1", scaling=SCALING))
    eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    kube.run("scale", "deployment", "r1", "--replicas", "3")
    kube.apply(resource("r1", scaling=SCALING, engine={"args": ["--x"]}))

    def arrived() -> bool:
        deployment = kube.get("deployment", "r1") or {}
        (server,) = deployment["spec"]["template"]["spec"]["containers"]
        return "--x" in server["args"]

    eventually("the edit", arrived)
    assert replicas(kube) == 3
    kube.run("delete", "hpa", "r1")
    eventually("the autoscaler is back", lambda: kube.get("hpa", "r1"))
    assert replicas(kube) == 3


def test_enabling_and_disabling_autoscaling_keeps_the_replicas(
    kube: Kube, operator: OperatorProcess
) -> None:
    kube.apply(resource("r1", replicas=5))
    eventually("five", lambda: replicas(kube) == 5)
    assert owners_of_replicas(kube) == {"deepseek-operator"}
    before = generation(kube)

    kube.apply(resource("r1", replicas=1, scaling=SCALING))
    eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    eventually("handed over", lambda: owners_of_replicas(kube) == {"deepseek-operator-replicas"})
    assert replicas(kube) == 5
    # Only one change, of the manifest hash annotation: the number did not change.
    assert generation(kube) == before + 1

    kube.run("scale", "deployment", "r1", "--replicas", "7")
    kube.apply(resource("r1", replicas=6))
    eventually("the spec's number", lambda: replicas(kube) == 6)
    eventually("the autoscaler is gone", lambda: kube.get("hpa", "r1") is None)
    assert "deepseek-operator" in owners_of_replicas(kube)


def test_a_handover_is_finished_after_a_kill(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1", replicas=4))
    eventually("four", lambda: replicas(kube) == 4)
    operator.kill()
    # The state after the first of the two writes.
    given = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "r1"},
        "spec": {"replicas": 4},
    }
    kube.run(
        "apply", "--server-side", "--force-conflicts", "--validate=false",
        "--field-manager", "deepseek-operator-replicas", "-f", "-", text=json.dumps(given),
    )  # fmt: skip
    kube.apply(resource("r1", replicas=1, scaling=SCALING))
    operator.start()
    eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    assert replicas(kube) == 4


def test_enabling_autoscaling_starts_a_stopped_model(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1", replicas=0))
    eventually("none", lambda: replicas(kube) == 0)
    kube.apply(resource("r1", replicas=1, scaling={**SCALING, "minReplicas": 2}))
    eventually("the minimum", lambda: replicas(kube) == 2)
    kube.run("scale", "deployment", "r1", "--replicas", "0")
    eventually("the minimum again", lambda: replicas(kube) == 2)


def test_the_operator_writes_nothing_in_a_steady_state_with_autoscaling(
    kube: Kube, operator: OperatorProcess, audit_log: Path
) -> None:
    kube.apply(resource("r1", scaling=SCALING))
    eventually("a condition", lambda: kube.condition("r1", "Autoscaling"))
    eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    time.sleep(2)
    steady = Audit(audit_log, kube.namespace)
    operator.kill()
    operator.start()
    kube.run("scale", "deployment", "r1", "--replicas", "3")
    time.sleep(3)
    writes = steady.writes(lambda entry: "kubectl" not in entry["userAgent"])
    writes.pop("patch deepseekdeployments/status", None)  # the three replicas
    writes.pop("create events", None)  # their Event
    assert writes == {}


SCALED_OBJECT = ForeignKind("ScaledObject", "keda.sh", "v1alpha1")
SCALED_OBJECTS = SCALED_OBJECT.name


def test_missing_keda_is_reported_and_used_once_it_is_installed(
    kube: Kube, operator: OperatorProcess
) -> None:
    kube.apply(resource("r1", replicas=1, scaling=SCALING))
    eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    by_keda = {**SCALING, "metrics": "keda", "prometheusAddress": "http://prometheus:9090"}
    kube.apply(resource("r1", scaling=by_keda))
    eventually("refused", lambda: kube.condition("r1", "Accepted").get("status") == "False")
    reported = kube.condition("r1", "Accepted")
    assert reported["reason"] == "ApiMissing"
    assert "ScaledObject" in reported["message"]
    assert kube.get("hpa", "r1"), "the existing autoscaler stays"

    SCALED_OBJECT.install(kube.target)
    try:
        scaled = eventually("a ScaledObject", lambda: kube.get(SCALED_OBJECTS, "r1"))
        assert scaled["spec"]["scaleTargetRef"]["name"] == "r1"
        queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
        assert f'namespace="{kube.namespace}"' in queries[0]
        eventually("no second autoscaler", lambda: kube.get("hpa", "r1") is None)
        eventually("accepted", lambda: kube.condition("r1", "Accepted").get("status") == "True")
        kube.apply(resource("r1", scaling=SCALING))
        eventually("no ScaledObject", lambda: kube.get(SCALED_OBJECTS, "r1") is None)
        eventually("the autoscaler is back", lambda: kube.get("hpa", "r1"))
    finally:
        SCALED_OBJECT.remove(kube.target)
