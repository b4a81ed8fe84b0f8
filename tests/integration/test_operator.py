"""The operator against a real API server: children, repair, refusals, and number of writes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.kube import CHILDREN, Audit, Kube, eventually, resource
from tests.support.operator_process import OperatorProcess


def have_children(kube: Kube, *names: str) -> bool:
    wanted = set(names)
    return all(wanted <= {item["metadata"]["name"] for item in kube.all(kind)} for kind in CHILDREN)


def by_operator(entry: dict[str, Any]) -> bool:
    return "kubectl" not in entry["userAgent"]


def test_the_minimal_resource_gets_its_children_and_a_status(
    kube: Kube, operator: OperatorProcess
) -> None:
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    reported = eventually("a status", lambda: kube.condition("r1"))
    assert reported["status"] == "False"
    assert kube.condition("r1", "Accepted")["status"] == "True"
    table = kube.run("get", "dsd")
    assert table.split()[:6] == ["NAME", "MODEL", "ACCELERATOR", "READY", "PHASE", "AGE"]
    assert "Starting" in table


def test_a_deleted_child_comes_back(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    for kind in CHILDREN:
        kube.run("delete", kind, "r1", "--wait=false")
    eventually("all children again", lambda: have_children(kube, "r1"))


def test_an_edited_child_is_repaired(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    kube.run("patch", "configmap", "r1", "--patch", '{"data": {"config.json": "{}"}}')
    kube.run("patch", "service", "r1", "--patch", '{"spec": {"selector": {"a": "b"}}}')
    kube.run("scale", "deployment", "r1", "--replicas", "9")
    kube.run("label", "serviceaccount", "r1", "deepseek-operator.io/name-", "--overwrite")

    def right() -> bool:
        config, service = kube.get("configmap", "r1"), kube.get("service", "r1")
        deployment, account = kube.get("deployment", "r1"), kube.get("serviceaccount", "r1")
        assert config and service and deployment and account  # noqa: PT018
        return (
            config["data"]["config.json"] != "{}"
            and "deepseek-operator.io/name" in service["spec"]["selector"]
            and deployment["spec"]["replicas"] == 1
            and account["metadata"]["labels"].get("deepseek-operator.io/name") == "r1"
        )

    eventually("all children are repaired", right)


def test_an_obsolete_child_is_deleted(kube: Kube, operator: OperatorProcess) -> None:
    """Only with the operator's label and this resource as owner; other objects are left alone."""
    kube.apply(resource("r1"), resource("r2"))
    eventually("children", lambda: have_children(kube, "r1", "r2"))
    labels = {
        "app.kubernetes.io/managed-by": "deepseek-operator",
        "deepseek-operator.io/name": "r1",
    }
    ours = (kube.get("configmap", "r1") or {})["metadata"]["ownerReferences"]
    others = (kube.get("configmap", "r2") or {})["metadata"]["ownerReferences"]

    def leftover(name: str, **metadata: Any) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, **metadata},
        }

    operator.kill()
    kube.apply(
        leftover("obsolete", labels=labels, ownerReferences=ours),
        leftover("not-labelled", ownerReferences=ours),
        leftover("not-owned", labels=labels),
        leftover("of-another", labels=labels, ownerReferences=others),
    )
    operator.start()
    eventually("it is gone", lambda: kube.get("configmap", "obsolete") is None)
    for name in ("not-labelled", "not-owned", "of-another", "r1", "r2"):
        assert kube.get("configmap", name), name


def test_foreign_annotations_of_a_child_are_kept(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    kube.run("annotate", "service", "r1", "example.com/mine=yes")
    kube.apply(resource("r1", replicas=2))
    eventually(
        "the edit arrives", lambda: (kube.get("deployment", "r1") or {})["spec"]["replicas"] == 2
    )
    service = kube.get("service", "r1")
    assert service is not None
    assert service["metadata"]["annotations"]["example.com/mine"] == "yes"


def test_an_edit_reaches_the_children(kube: Kube, operator: OperatorProcess) -> None:
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    model = {"id": "tiny", "source": {"pvc": {"claimName": "weights"}}}
    kube.apply(resource("r1", model=model))

    def mounted() -> bool:
        deployment = kube.get("deployment", "r1")
        assert deployment is not None
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        return any(volume.get("persistentVolumeClaim") for volume in volumes)

    eventually("the claim is mounted", mounted)
    eventually("the status is about the edit", lambda: kube.condition("r1"))


def test_an_unknown_model_is_refused_without_blocking_other_resources(
    kube: Kube, operator: OperatorProcess
) -> None:
    kube.apply(resource("bad", model={"id": "deepseek-ai/DeepSeek-V1.5"}), resource("good"))
    reported = eventually("a verdict", lambda: kube.condition("bad", "Accepted"))
    assert (reported["status"], reported["reason"]) == ("False", "UnknownModel")
    assert "Did you mean deepseek-ai/DeepSeek-V2.5" in reported["message"]
    eventually("the other's children", lambda: have_children(kube, "good"))
    assert kube.get("deployment", "bad") is None
    (event,) = eventually("an Event", lambda: kube.events("bad"))
    assert (event["type"], event["reason"]) == ("Warning", "UnknownModel")
    kube.apply(resource("bad"))
    eventually("its children after the fix", lambda: have_children(kube, "bad"))
    assert kube.condition("bad", "Accepted")["status"] == "True"


def test_an_object_of_another_owner_is_not_taken_over(
    kube: Kube, operator: OperatorProcess
) -> None:
    kube.run("create", "service", "clusterip", "r1", "--tcp=80")
    kube.apply(resource("r1"))
    reported = eventually("a verdict", lambda: kube.condition("r1", "Accepted"))
    assert reported["reason"] == "NameTaken"
    assert "Service named r1" in reported["message"]
    service = kube.get("service", "r1")
    assert service is not None
    assert service["spec"]["selector"] == {"app": "r1"}


def test_a_rejected_child_is_reported_and_applied_after_a_fix(
    kube: Kube, operator: OperatorProcess
) -> None:
    broken = {
        "spec": {"containers": [{"name": "server", "resources": {"limits": {"cpu": "much"}}}]}
    }
    kube.apply(resource("r1", podTemplate=broken))
    reported = eventually("a verdict", lambda: kube.condition("r1", "Accepted"))
    assert reported["reason"] == "ChildRejected"
    assert "quantities" in reported["message"]
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))


def test_the_operator_finishes_a_burst_after_a_kill_and_a_restart(
    kube: Kube, operator: OperatorProcess
) -> None:
    names = [f"burst-{number}" for number in range(30)]
    with ThreadPoolExecutor(1) as people:
        applied = people.submit(kube.apply, *(resource(name) for name in names))
        eventually("some children", lambda: kube.all("deployment"))
        operator.kill()
        applied.result()
    assert not have_children(kube, *names)
    operator.start()
    eventually("all children", lambda: have_children(kube, *names))
    eventually("every status", lambda: all(kube.condition(name) for name in names))


def test_each_child_is_written_once_and_nothing_after_a_restart(
    kube: Kube, operator: OperatorProcess, audit_log: Path
) -> None:
    audit = Audit(audit_log, kube.namespace)
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    eventually("a status", lambda: kube.condition("r1"))
    time.sleep(2)  # time for a surplus write to happen
    assert audit.writes(by_operator) == {
        "patch serviceaccounts": 1,
        "patch configmaps": 1,
        "patch services": 1,
        "patch poddisruptionbudgets": 1,
        "patch networkpolicies": 1,
        "patch deployments": 1,
        "patch deepseekdeployments/status": 1,
        "create events": 1,
    }
    steady = Audit(audit_log, kube.namespace)
    operator.kill()
    operator.start()
    time.sleep(5)
    assert steady.writes(by_operator) == {}


def test_a_stop_is_clean_and_metrics_count_the_writes(
    kube: Kube, operator: OperatorProcess
) -> None:
    kube.apply(resource("r1"))
    eventually("all children", lambda: have_children(kube, "r1"))
    assert 'deepseek_operator_writes_total{kind="Deployment",result="ok"}' in operator.fetch(
        "/metrics"
    )
    assert operator.stop() == 0
    assert "Traceback" not in operator.log
