"""Disruptions by users and other programs of the cluster."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from deepseek_operator.cluster.client import connect
from hack.cluster.kubectl import kubectl
from tests.chaos.kubelet import Kubelet
from tests.chaos.world import World, by_operator
from tests.support.foreign_pods import A_LOT, ForeignPods
from tests.support.kube import eventually, resource
from tests.support.repository import ROOT

CRD = ROOT / "crds/deepseekdeployments.deepseek-operator.io.yaml"


def test_twenty_edits_in_a_second_cost_at_most_one_write_each(
    world: World, operator: Kubelet
) -> None:
    world.apply("r1")
    world.converges("r1")
    audit = world.from_now_on()
    edits = [
        {**resource("r1"), "spec": {**resource("r1")["spec"], "replicas": n % 7}} for n in range(20)
    ]
    threads = [
        threading.Thread(
            target=world.kube.run, args=["apply", "-f", "-"], kwargs={"text": json.dumps(edit)}
        )
        for edit in edits
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    world.apply("r1", replicas=5)
    world.converges("r1")
    deployment = world.kube.get("deployment", "r1")
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 5
    assert audit.writes(by_operator)["patch deployments"] <= 21


def test_a_child_of_another_resource_is_not_taken_over(world: World, operator: Kubelet) -> None:
    """Two resources need the same name: the second waits and reports it, the first is left alone."""
    world.apply("first")
    world.converges("first")
    owner = world.kube.get("dsd", "first")
    assert owner is not None
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": "first",
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    taken = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "second", "ownerReferences": [reference]},
        "spec": {"ports": [{"port": 1}]},
    }
    world.kube.apply(taken)
    world.apply("second")
    reported = eventually("a verdict", lambda: world.kube.condition("second", "Accepted"))
    assert (reported["status"], reported["reason"]) == ("False", "NameTaken")
    service = world.kube.get("service", "second")
    assert service is not None
    assert service["spec"]["ports"][0]["port"] == 1
    audit = world.from_now_on()
    time.sleep(5)
    assert sum(audit.writes(by_operator).values()) == 0
    world.kube.run("delete", "service", "second")
    world.converges("first", "second")


def test_the_operator_stops_writing_in_a_namespace_that_is_being_deleted(
    world: World, operator: Kubelet
) -> None:
    names = [f"r{number}" for number in range(8)]
    world.apply(*names)
    world.converges(*names)
    # A foreign finalizer keeps the namespace in this state for a while.
    stay = {"name": "stays", "finalizers": ["example.com/wait"]}
    world.kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": stay})
    world.kube.run("delete", "namespace", world.kube.namespace, "--wait=false")
    eventually("the resources are gone", lambda: not world.kube.all("dsd"))
    world.falls_quiet()
    world.kube.run(
        "patch", "configmap", "stays", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    gone = ("get", "namespace", world.kube.namespace, "--ignore-not-found")
    eventually("the namespace is gone", lambda: not world.kube.run(*gone))
    assert operator.restarts == 0


def test_a_resource_is_deleted_and_created_again_under_its_name(
    world: World, operator: Kubelet
) -> None:
    for _ in range(4):
        world.apply("r1")
        eventually("children", lambda: world.kube.all("deployment"))
        world.kube.run("delete", "dsd", "r1", "--wait=false")
    world.apply("r1", replicas=2)
    world.converges("r1")


def test_a_newer_crd_needs_no_restart(world: World, operator: Kubelet) -> None:
    world.apply("r1")
    world.converges("r1")
    newer = yaml.safe_load(CRD.read_text())
    (version,) = newer["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["colour"] = {"type": "string"}
    try:
        kubectl(world.kube.target, "apply", "--server-side", "-f", "-", text=json.dumps(newer))
        eventually("the field is served", lambda: _takes(world, "r2", colour="red"))
        world.apply("r1", replicas=2, colour="blue")
        world.converges("r1", "r2")
        assert operator.restarts == 0
    finally:
        kubectl(world.kube.target, "apply", "--server-side", "--filename", str(CRD))
    world.apply("r1", replicas=1)
    world.converges("r1", "r2")


def _takes(world: World, name: str, **spec: Any) -> bool:
    world.kube.run("apply", "-f", "-", "--validate=false", text=json.dumps(resource(name, **spec)))
    stored = world.kube.get("dsd", name)
    return bool(stored and spec.keys() <= stored["spec"].keys())


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_ten_thousand_changes_a_minute_of_foreign_pods_cause_no_writes(
    world: World, operator: Kubelet, seconds: int
) -> None:
    world.apply("r1")
    world.converges("r1")
    with foreign_pods(world) as written:
        eventually("they are written", lambda: written())
        audit = world.from_now_on()
        time.sleep(seconds)
        # The operator ignores them. The writer of the pods uses the operator's client.
        assert audit.writes(by_operator).keys() == {"patch pods"}
        world.apply("r2")
        eventually("its Deployment", lambda: world.kube.get("deployment", "r2"))
        # The test machine wrote enough of them.
        assert written() > seconds * 20
    world.converges("r1", "r2")


@contextmanager
def foreign_pods(world: World) -> Iterator[Callable[[], int]]:
    """Change foreign pods continuously.

    Yields:
        A function that returns the number of changes so far; it raises the error, if any, that has
        ended them.
    """
    pods, stop = ForeignPods(world.kube.namespace), threading.Event()

    async def change() -> None:
        async with connect(kubeconfig=world.kube.target.kubeconfig) as client:
            await pods.change(client, A_LOT, lambda: not stop.is_set())

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(lambda: asyncio.run(change()))

        def so_far() -> int:
            if changing.done():
                changing.result()
            return pods.written

        try:
            yield so_far
        finally:
            stop.set()
            changing.result()
