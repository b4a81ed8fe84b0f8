"""GPU usage of nodes: queried as little as needed, and never required for a decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import RejectedError
from deepseek_operator.cluster.usage import BATCH, NodeUsage
from deepseek_operator.controller.rollouts.room import Rollouts
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.sizing.parallelism import GROUPS
from deepseek_operator.plan.state.labels import ROLLOUT_STEP, TEMPLATE_HASH
from deepseek_operator.plan.state.observed import NodeView, Observed, PodView
from deepseek_operator.render.children import children
from deepseek_operator.render.workload import is_workload
from tests.support.operator.resources import SETTINGS, node, resource

GPU = "nvidia.com/gpu"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Pods(Client):
    """The pods of nodes; records every query."""

    def __init__(self, held: dict[str, int], forbidden: bool = False):
        self.held = held
        self.forbidden = forbidden
        self.asked: list[str] = []

    async def pods_on(self, node: str) -> list[dict[str, Any]]:
        self.asked.append(node)
        if self.forbidden:
            raise RejectedError("pods is forbidden")
        resources = {"requests": {GPU: str(self.held[node])}}
        metadata = {"namespace": "ml", "name": f"train-{node}"}
        return [{"metadata": metadata, "spec": {"containers": [{"resources": resources}]}}]


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def asked(usage: NodeUsage, names: list[str], max_age: float) -> dict[str, Any]:
    return {
        name: found async for some in usage.batches(names, max_age) for name, found in some.items()
    }


async def test_usage_is_cached_up_to_its_maximum_age() -> None:
    client, clock = Pods({"a": 1, "b": 2}), Clock()
    usage = NodeUsage(client, clock)
    first = await asked(usage, ["b", "a"], 5)
    assert client.asked == ["a", "b"]
    clock.now = 5
    assert await asked(usage, ["a", "b"], 5) == first
    await asked(usage, ["a"], 4)
    assert client.asked == ["a", "b", "a"]


async def test_the_count_stops_once_enough_slots_are_free() -> None:
    names = [f"node-{number:03}" for number in range(100)]
    client = Pods(dict.fromkeys(names, 8) | {names[BATCH]: 0})
    nodes = observed(*(node(name, 8) for name in names))
    assert await surge(client, nodes, accelerator={"count": 1}) == 1
    assert client.asked == names[: 2 * BATCH]


def deployment(**spec: Any) -> tuple[DesiredState, dict[str, Any]]:
    desired = decide(resource(**spec), SETTINGS, Observed())
    assert isinstance(desired, DesiredState)
    (manifest,) = (item for item in children(desired) if item["kind"] == "Deployment")
    return desired, manifest


def live(template: str = "older") -> dict[str, Any]:
    """Return a Deployment of one replica that serves."""
    annotations = {ROLLOUT_STEP: "busy/1", TEMPLATE_HASH: template}
    return {
        "metadata": {"annotations": annotations, "generation": 1},
        "spec": {"replicas": 1},
        "status": {"replicas": 1, "updatedReplicas": 1, "observedGeneration": 1},
    }


def observed(*nodes: dict[str, Any]) -> Observed:
    serves = PodView("r1-a", ready=True, scheduled=True)
    return Observed(pods=(serves,), nodes=tuple(NodeView.of(item) for item in nodes))


async def surge(client: Client, seen: Observed, **spec: Any) -> int:
    desired, manifest = deployment(**spec)
    applied = await Rollouts(NodeUsage(client)).step(manifest, live(), desired, seen, NOW)
    return int(applied.manifest["spec"]["strategy"]["rollingUpdate"]["maxSurge"])


async def test_only_nodes_that_fit_are_queried() -> None:
    cordoned = node("cordoned", 8) | {"spec": {"unschedulable": True}}
    nodes = observed(node("full", 8), node("small", 1), cordoned)
    client = Pods({"full": 8})
    assert await surge(client, nodes, accelerator={"count": 2}) == 0
    assert client.asked == ["full"]
    assert await surge(Pods({"full": 6}), nodes, accelerator={"count": 2}) == 1


async def test_a_model_on_the_cpu_queries_no_node() -> None:
    client = Pods({})
    assert await surge(client, observed(node("a", 8))) == 1
    assert client.asked == []


async def test_gpus_requested_in_podtemplate_count() -> None:
    limits = {"name": "sidecar", "resources": {"limits": {GPU: 1}}}
    template = {"spec": {"containers": [limits]}}
    assert await surge(Pods({"a": 8}), observed(node("a", 8)), podTemplate=template) == 0


async def test_a_surge_is_tried_without_permission_to_list_pods() -> None:
    client = Pods({"a": 8}, forbidden=True)
    assert await surge(client, observed(node("a", 8)), accelerator={"count": 1}) == 1


async def test_invalid_resources_are_left_to_the_api_server() -> None:
    for resources in ({"limits": {GPU: "much"}}, "much", {"limits": ["much"]}, {"limits": None}):
        container = {"name": "sidecar", "resources": resources}
        template = {"spec": {"containers": [container]}}
        assert await surge(Pods({"a": 8}), observed(node("a", 8)), podTemplate=template) == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"tolerations": "all"},
        {"tolerations": ["all"]},
        {"nodeSelector": ["zone"]},
        {"affinity": "near"},
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone"}]}]
                    }
                }
            }
        },
    ],
)
async def test_invalid_scheduling_fields_are_left_to_the_api_server(spec: dict[str, Any]) -> None:
    tainted = node("a", 8) | {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    template = {"spec": spec}
    client = Pods({"a": 8})
    assert (
        await surge(client, observed(tainted), accelerator={"count": 1}, podTemplate=template) == 1
    )


async def test_no_node_is_queried_without_a_rollout_or_a_waiting_pod() -> None:
    desired, manifest = deployment(accelerator={"count": 1})
    client = Pods({"a": 8})
    rollouts = Rollouts(NodeUsage(client))
    first = await rollouts.step(manifest, None, desired, observed(node("a", 8)), NOW)
    applied = first.manifest["metadata"]["annotations"]
    same = live() | {"metadata": {"annotations": applied, "generation": 1}}
    second = await rollouts.step(manifest, same, desired, observed(node("a", 8)), NOW)
    assert second.manifest == first.manifest
    assert second.requeue_after is None
    assert not second.changed
    seen = await rollouts.with_contention(second, observed(node("a", 8)))
    assert seen.gpu_contention is None
    assert client.asked == []


async def test_a_waiting_pod_reports_the_gpu_holders_and_requeues() -> None:
    desired, manifest = deployment(accelerator={"count": 1})
    client = Pods({"a": 8})
    rollouts = Rollouts(NodeUsage(client))
    waiting = replace(observed(node("a", 8)), pods=(PodView("r1-a", unscheduled="busy"),))
    applied = await rollouts.step(manifest, None, desired, waiting, NOW)
    assert applied.requeue_after is not None
    contention = (await rollouts.with_contention(applied, waiting)).gpu_contention
    assert contention is not None
    assert contention.holders == (("pod ml/train-a", 8),)


async def test_a_replica_of_several_pods_needs_a_free_slot_for_each() -> None:
    async def capacity(held: dict[str, int], replicas: int = 2) -> dict[str, int]:
        nodes = tuple(NodeView.of(node(name, 8)) for name in held)
        serves = tuple(
            PodView(
                f"r1-gang-{group}-{index}", ready=True, scheduled=True, group=group, index=index
            )
            for group in range(replicas)
            for index in range(2)
        )
        seen = Observed(pods=serves, nodes=nodes, served=frozenset({GROUPS}))
        split = {"accelerator": {"count": 16}, "parallelism": {"tensor": 16}}
        body = resource(replicas=replicas, **split)
        desired = decide(body, SETTINGS, seen)
        assert isinstance(desired, DesiredState), desired
        (manifest,) = filter(is_workload, children(desired))
        groups = {"metadata": {"annotations": {TEMPLATE_HASH: "older"}}, "spec": {"replicas": 2}}
        rollouts = Rollouts(NodeUsage(Pods(held)))
        applied = await rollouts.step(manifest, groups, desired, seen, NOW)
        strategy = applied.manifest["spec"]["rolloutStrategy"]
        return dict(strategy["rollingUpdateConfiguration"])

    assert await capacity({"a": 8, "b": 8, "c": 0}) == {"maxSurge": 0, "maxUnavailable": 1}
    free = {"a": 8, "b": 8, "c": 0, "d": 0}
    assert await capacity(free) == {"maxSurge": 1, "maxUnavailable": 0}
    # LeaderWorkerSet never starts a surge of a single replica.
    assert await capacity(free, replicas=1) == {"maxSurge": 0, "maxUnavailable": 1}
