"""Steps of rolling updates against a real API server: written once, with the template.

There is no scheduler and no kubelet here: tests write nodes, pods and the Deployment's status.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_operator import by_operator
from tests.support.kube import Audit, Kube, eventually, resource
from tests.support.operator_process import OperatorProcess

GPU = "nvidia.com/gpu"
OURS = {"app.kubernetes.io/managed-by": "deepseek-operator", "deepseek-operator.io/name": "r1"}


@pytest.fixture
def node(kube: Kube) -> Iterator[str]:
    """A node with four GPUs that only pods of this test may use."""
    name = f"node-of-{kube.namespace}"
    labels = {"only": kube.namespace}
    # Pods need a service account, and its controller does not run here.
    kube.run("create", "serviceaccount", "default")
    kube.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    room = {GPU: "4", "cpu": "64", "memory": "512Gi", "ephemeral-storage": "4Ti"}
    status = {"allocatable": room, "capacity": room}
    # No kubelet reports that it is ready, so the test removes the taint of a new node.
    kube.run("taint", "node", name, "node.kubernetes.io/not-ready-")
    kube.run("patch", "node", name, "--subresource=status", "-p", json.dumps({"status": status}))
    yield name
    kube.run("delete", "node", name)


def model(kube: Kube, context: int) -> dict[str, Any]:
    """Return a model on two GPUs; another context is another pod template."""
    return resource(
        "r1",
        model={"id": "deepseek-ai/DeepSeek-R1", "maxContext": context},
        accelerator={"count": 2},
        podTemplate={"spec": {"nodeSelector": {"only": kube.namespace}}},
    )


def pod(kube: Kube, name: str, node: str, gpus: int, labels: dict[str, str] | None = None) -> None:
    container = {"name": "server", "image": "x", "resources": {"limits": {GPU: gpus}}}
    spec: dict[str, Any] = {"containers": [container], "automountServiceAccountToken": False}
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "labels": labels or {}}
    kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def condition(kube: Kube, name: str, *conditions: dict[str, str]) -> None:
    status = {"status": {"conditions": list(conditions)}}
    kube.run("patch", "pod", name, "--subresource=status", "-p", json.dumps(status))


def scheduled(kube: Kube, name: str) -> None:
    condition(
        kube, name, {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}
    )


def counts(kube: Kube, replicas: int, updated: int) -> None:
    """Write the status that a Deployment's controller would write for the newest spec."""
    found = kube.get("deployment", "r1")
    assert found is not None
    generation = found["metadata"]["generation"]
    status = {"observedGeneration": generation, "replicas": replicas, "updatedReplicas": updated}
    kube.run(
        "patch", "deployment", "r1", "--subresource=status", "-p", json.dumps({"status": status})
    )


def strategy(kube: Kube) -> tuple[int, int]:
    found = kube.get("deployment", "r1")
    assert found is not None
    update = found["spec"]["strategy"]["rollingUpdate"]
    return update["maxSurge"], update["maxUnavailable"]


def context(kube: Kube) -> int:
    config = kube.get("configmap", "r1")
    assert config is not None
    return int(json.loads(config["data"]["config.json"])["model"]["maxContext"])


@pytest.fixture
def serving(kube: Kube, operator: OperatorProcess, node: str) -> None:
    """One replica that serves on two of the four GPUs."""
    kube.apply(model(kube, 1024))
    eventually("a Deployment", lambda: kube.get("deployment", "r1"))
    pod(kube, "r1-old", node, 2, OURS)
    scheduled(kube, "r1-old")
    counts(kube, 1, 1)
    eventually("ready", lambda: kube.condition("r1").get("status") == "True")


def edited(kube: Kube, context_length: int) -> None:
    kube.apply(model(kube, context_length))
    eventually("the edit is applied", lambda: context(kube) == context_length)
    eventually("and reported", lambda: kube.condition("r1").get("reason") == "RollingOut")


def test_the_step_and_the_new_template_are_one_write(
    kube: Kube, serving: None, node: str, audit_log: Path
) -> None:
    audit = Audit(audit_log, kube.namespace)
    edited(kube, 2048)
    assert strategy(kube) == (1, 0)
    counts(kube, 1, 1)
    eventually("complete", lambda: kube.condition("r1").get("status") == "True")
    pod(kube, "stranger", node, 2)
    edited(kube, 4096)
    assert strategy(kube) == (0, 1)
    assert audit.writes(by_operator)["patch deployments"] == 2
    quiet = Audit(audit_log, kube.namespace)
    counts(kube, 1, 1)
    eventually("complete", lambda: kube.condition("r1").get("status") == "True")
    time.sleep(2)
    assert "patch deployments" not in quiet.writes(by_operator), "the strategy is written again"


def test_a_surge_pod_without_a_node_is_withdrawn_across_a_restart(
    kube: Kube, serving: None, operator: OperatorProcess
) -> None:
    edited(kube, 2048)
    pod(kube, "r1-new", "", 2, OURS)
    refused = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available.",
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    assert strategy(kube) == (1, 0)
    condition(kube, "r1-new", refused)
    counts(kube, 2, 1)
    operator.kill()
    operator.start()
    eventually("it is withdrawn", lambda: strategy(kube) == (0, 1))
    counts(kube, 2, 1)
    eventually("it is reported", lambda: "Rolling out (in place)" in phase(kube))
    events = [event["reason"] for event in kube.events("r1")]
    assert events.count("RolloutStarted") == events.count("SurgeWithdrawn") == 1


def phase(kube: Kube) -> str:
    return kube.run("get", "dsd", "r1", "--no-headers")


def test_a_waiting_model_reports_the_holders_of_the_gpus(
    kube: Kube, operator: OperatorProcess, node: str
) -> None:
    pod(kube, "stranger", node, 3)
    kube.apply(model(kube, 1024))
    eventually("a Deployment", lambda: kube.get("deployment", "r1"))
    pod(kube, "r1-new", "", 2, OURS)
    condition(
        kube,
        "r1-new",
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "busy"},
    )
    reported = eventually(
        "the holders",
        lambda: "held by" in kube.condition("r1").get("message", "") and kube.condition("r1"),
    )
    assert isinstance(reported, dict)
    assert reported["reason"] == "WaitingForGPU"
    assert f"1 of 4 {GPU} are free on 1 eligible node(s)" in reported["message"]
    assert f"held by pod {kube.namespace}/stranger (3)" in reported["message"]
