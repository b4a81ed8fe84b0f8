"""Replicas are replaced with one more where a GPU is free, else in place; and what a person reads.

The node advertises GPUs that nobody uses, so the models here ask for some and are told to compute on the
CPU after all: what their pods ask for is what counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e.product import Product
from tests.support.e2e.traffic import asked_all_the_time
from tests.support.kube import Kube, eventually, modest, resource

GPU = "nvidia.com/gpu"
PAUSE = "registry.deepseek.local/pause:1"
READY = 240.0


@pytest.fixture
def gpus(kube: Kube, product: Product) -> int:
    """All GPUs of the one node, none of which is held."""
    if kube.target.kind != "embedded":
        pytest.skip(
            f"these tests need a node with GPUs that nobody uses, this is {kube.target.kind}"
        )

    def held() -> int:
        text = kube.run("get", "pods", "--all-namespaces", "--output", f"jsonpath={HELD}")
        return sum(map(int, text.split()))

    eventually("the last test's GPUs are free", lambda: held() == 0)
    node = kube.get("node", "node-1")
    assert node is not None
    return int(node["status"]["allocatable"][GPU])


HELD = "{.items[*].spec.containers[*].resources.limits['nvidia\\.com/gpu']}"


def model(models: dict[str, Path], note: str, gpus: int, **spec: Any) -> dict[str, Any]:
    """A tiny model; `note` in its pods' annotations, so that another one replaces them."""
    source = {"hostPath": {"path": str(models["qwen2"])}}
    pods = spec.pop("pods", {})
    template = {"metadata": {"annotations": {"note": note}}, **modest(**pods)}
    served = {"id": "tiny", "source": source}
    on_cpu = {"args": ["--device", "cpu", "--tensor-parallel", "1"]}
    asked = {"model": served, "engine": on_cpu, "accelerator": {"count": gpus}, **spec}
    return resource("tiny", podTemplate=template, **asked)


def hold(kube: Kube, number: int) -> None:
    """A pod of somebody else that holds GPUs."""
    container = {"name": "pause", "image": PAUSE, "resources": {"limits": {GPU: number}}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": spec})
    eventually("it holds them", lambda: (kube.get("pod", "holder") or {})["spec"].get("nodeName"))


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
    """Wait until every pod carries the note and serves."""

    def done() -> bool:
        notes = {
            pod["metadata"]["annotations"]["note"]
            for pod in kube.all("pod", "app.kubernetes.io/instance=tiny")
        }
        return notes == {note} and ready(kube)

    eventually("all is new and serves", done, timeout)


def test_with_a_free_gpu_no_request_fails(kube: Kube, gpus: int, models: dict[str, Path]) -> None:
    kube.apply(model(models, "old", gpus // 2))
    eventually("ready", lambda: ready(kube), READY)
    with asked_all_the_time(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", gpus // 2))
        eventually("it says so", lambda: "Rolling out (surge)" in phase(kube))
        assert strategy(kube) == {"maxSurge": 1, "maxUnavailable": 0}
        replaced(kube, "new")
    assert set(outcomes) == {"200"}
    assert outcomes["200"] > 5
    assert "Ready: 1 of 1 replicas serve" in phase(kube)
    told = reasons(kube)
    assert told.count("RolloutStarted") == told.count("RolloutFinished") == 1
    assert "SurgeWithdrawn" not in told


def test_without_a_free_gpu_it_goes_in_place_and_ends(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    kube.apply(model(models, "old", gpus // 2))
    eventually("ready", lambda: ready(kube), READY)
    hold(kube, gpus - gpus // 2)
    kube.apply(model(models, "new", gpus // 2))
    eventually("it says so", lambda: "Rolling out (in place)" in phase(kube))
    assert strategy(kube) == {"maxSurge": 0, "maxUnavailable": 1}
    message = kube.condition("tiny", "Progressing")["message"]
    assert "No suitable GPU is free" in message
    replaced(kube, "new")
    assert reasons(kube).count("RolloutFinished") == 1


@pytest.mark.long
def test_a_surge_that_finds_no_node_is_withdrawn(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    """GPUs are free, but two such pods must not share the only node."""
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
    eventually("it is withdrawn", lambda: "Rolling out (in place)" in phase(kube))
    replaced(kube, "new")
    told = reasons(kube)
    assert [reason for reason in told if "Surge" in reason or "Rollout" in reason] == [
        "RolloutStarted",
        "SurgeWithdrawn",
        "RolloutFinished",
    ]


def test_who_waits_for_a_gpu_is_told_who_holds_it(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    hold(kube, gpus)
    kube.apply(model(models, "first", 1))
    eventually("it says so", lambda: "Waiting for 1 x GPU" in phase(kube))
    said = eventually(
        "who holds them",
        lambda: "held by" in kube.condition("tiny")["message"] and kube.condition("tiny"),
    )
    assert isinstance(said, dict)
    assert said["reason"] == "WaitingForGPU"
    assert f"0 of {gpus} {GPU} are free on 1 eligible node(s)" in said["message"]
    assert f"held by pod {kube.namespace}/holder ({gpus})" in said["message"]
    kube.run("delete", "pod", "holder")
    eventually("ready", lambda: ready(kube), READY)


@pytest.mark.long
def test_who_would_rather_wait_keeps_serving(
    kube: Kube, gpus: int, models: dict[str, Path]
) -> None:
    waits = {"whenNoGpuIsFree": "wait"}
    kube.apply(model(models, "old", gpus, rollout=waits))
    eventually("ready", lambda: ready(kube), READY)
    with asked_all_the_time(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", gpus, rollout=waits))
        eventually("it waits", lambda: f"waiting for {gpus} x GPU; 1 of 1 serve" in phase(kube))
        assert "Each new replica waits for a free GPU" in kube.condition("tiny")["message"]
    assert set(outcomes) == {"200"}
    kube.apply(model(models, "new", gpus, rollout={"whenNoGpuIsFree": "inPlace"}))
    replaced(kube, "new")
