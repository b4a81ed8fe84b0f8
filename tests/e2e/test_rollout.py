"""Rolling updates with a surge if a GPU is free, else in place, and their status and Events.

The node only advertises its GPUs. The models request them, because the scheduler counts requests, and
compute on the CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e.product import Product
from tests.support.e2e.traffic import continuous_requests
from tests.support.kube import Kube, eventually, modest, resource

GPU = "nvidia.com/gpu"
PAUSE = "registry.deepseek.local/pause:1"
READY = 240.0


@pytest.fixture
def gpus(kube: Kube, product: Product) -> int:
    """Number of GPUs of the only node, once all of them are free."""
    if kube.target.kind != "embedded":
        pytest.skip(
            f"these tests need a node with only free GPUs, this is a {kube.target.kind} cluster"
        )

    def held() -> int:
        text = kube.run("get", "pods", "--all-namespaces", "--output", f"jsonpath={HELD}")
        return sum(map(int, text.split()))

    eventually("the GPUs of the previous test are free", lambda: held() == 0)
    node = kube.get("node", "node-1")
    assert node is not None
    return int(node["status"]["allocatable"][GPU])


HELD = "{.items[*].spec.containers[*].resources.limits['nvidia\\.com/gpu']}"


def model(models: dict[str, Path], note: str, gpus: int, **spec: Any) -> dict[str, Any]:
    """Return a resource with a tiny model; another `note` in the pod template replaces the pods."""
    source = {"hostPath": {"path": str(models["qwen2"])}}
    pods = spec.pop("pods", {})
    template = {"metadata": {"annotations": {"note": note}}, **modest(**pods)}
    served = {"id": "tiny", "source": source}
    on_cpu = {"args": ["--device", "cpu", "--tensor-parallel", "1"]}
    asked = {"model": served, "engine": on_cpu, "accelerator": {"count": gpus}, **spec}
    return resource("tiny", podTemplate=template, **asked)


def hold(kube: Kube, number: int) -> None:
    """Create another workload's pod that holds GPUs."""
    container = {"name": "pause", "image": PAUSE, "resources": {"limits": {GPU: number}}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": spec})
    eventually(
        "the pod holds the GPUs", lambda: (kube.get("pod", "holder") or {})["spec"].get("nodeName")
    )


def ready(kube: Kube) -> bool:
    return kube.condition("tiny").get("status") == "True"


def phase(kube: Kube) -> str:
    return kube.run("get", "dsd", "tiny", "--no-headers")


def reasons(kube: Kube) -> list[str]:
    return [event["reason"] for event in kube.events("tiny")]


def strategy(kube: Kube) -> dict[str, int]:
    found = kube.get("deployment", "tiny")
    assert found is not None
    return dict(found["spec"]["strategy"]["rollingUpdate"])


def replaced(kube: Kube, note: str, timeout: float = READY) -> None:
    """Wait until all pods have the note and serve."""

    def done() -> bool:
        notes = {
            pod["metadata"]["annotations"]["note"]
            for pod in kube.all("pod", "app.kubernetes.io/instance=tiny")
        }
        return notes == {note} and ready(kube)

    eventually(f"all pods have note {note} and serve", done, timeout)


def test_a_rollout_with_a_free_gpu_surges_and_no_request_fails(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    kube.apply(model(models, "old", gpus // 2))
    eventually("ready", lambda: ready(kube), READY)
    with continuous_requests(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", gpus // 2))
        eventually("a surge is reported", lambda: "Rolling out (surge)" in phase(kube))
        assert strategy(kube) == {"maxSurge": 1, "maxUnavailable": 0}
        replaced(kube, "new")
    assert set(outcomes) == {"200"}
    assert outcomes["200"] > 5
    assert "Ready: 1 of 1 replicas serve" in phase(kube)
    emitted = reasons(kube)
    assert emitted.count("RolloutStarted") == emitted.count("RolloutFinished") == 1
    assert "SurgeWithdrawn" not in emitted


def test_a_rollout_without_a_free_gpu_is_in_place(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    kube.apply(model(models, "old", gpus // 2))
    eventually("ready", lambda: ready(kube), READY)
    hold(kube, gpus - gpus // 2)
    kube.apply(model(models, "new", gpus // 2))
    eventually("in place is reported", lambda: "Rolling out (in place)" in phase(kube))
    assert strategy(kube) == {"maxSurge": 0, "maxUnavailable": 1}
    message = kube.condition("tiny", "Progressing")["message"]
    assert "No suitable GPU is free" in message
    replaced(kube, "new")
    assert reasons(kube).count("RolloutFinished") == 1


@pytest.mark.long
def test_a_surge_without_a_suitable_node_is_withdrawn(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    """GPUs are free, but anti-affinity forbids a second pod on the only node."""
    apart = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "tiny"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    pods = {
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    }
    kube.apply(model(models, "old", 1, pods=pods))
    eventually("ready", lambda: ready(kube), READY)
    kube.apply(model(models, "new", 1, pods=pods))
    eventually(
        "the surge waits",
        lambda: "1 of 1 replicas new: waiting for a node; 1 of 1 serve" in phase(kube),
    )
    eventually("the surge is withdrawn", lambda: "Rolling out (in place)" in phase(kube))
    replaced(kube, "new")
    emitted = reasons(kube)
    assert [reason for reason in emitted if "Surge" in reason or "Rollout" in reason] == [
        "RolloutStarted",
        "SurgeWithdrawn",
        "RolloutFinished",
    ]


def test_a_resource_that_waits_for_a_gpu_reports_the_holders(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    hold(kube, gpus)
    kube.apply(model(models, "first", 1))
    eventually("the wait is reported", lambda: "Waiting for 1 x GPU" in phase(kube))
    condition = eventually(
        "the holders are reported",
        lambda: "held by" in kube.condition("tiny")["message"] and kube.condition("tiny"),
    )
    assert isinstance(condition, dict)
    assert condition["reason"] == "WaitingForGPU"
    assert f"0 of {gpus} {GPU} are free on 1 eligible node(s)" in condition["message"]
    assert f"held by pod {kube.namespace}/holder ({gpus})" in condition["message"]
    kube.run("delete", "pod", "holder")
    eventually("ready", lambda: ready(kube), READY)


@pytest.mark.long
def test_with_policy_wait_the_old_replica_serves_until_a_gpu_is_free(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    waits = {"whenNoGpuIsFree": "wait"}
    kube.apply(model(models, "old", gpus, rollout=waits))
    eventually("ready", lambda: ready(kube), READY)
    with continuous_requests(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", gpus, rollout=waits))
        eventually(
            "the rollout waits", lambda: f"waiting for {gpus} x GPU; 1 of 1 serve" in phase(kube)
        )
        assert "Each new replica waits for a free GPU" in kube.condition("tiny")["message"]
    assert set(outcomes) == {"200"}
    kube.apply(model(models, "new", gpus, rollout={"whenNoGpuIsFree": "inPlace"}))
    replaced(kube, "new")
