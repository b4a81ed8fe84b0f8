"""Rollouts and lost replicas in the phase and in Events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.plan.plan import Report, decide, report
from deepseek_operator.plan.rolling.rolling_update import IN_PLACE, SURGE, WAIT, Step, Why
from deepseek_operator.plan.state.loading import Loading
from deepseek_operator.plan.state.observed import DeploymentView, GpuContention, Observed, PodView
from deepseek_operator.plan.status.conditions import condition
from tests.support.operator.resources import NOW, SETTINGS, resource

SERVES = PodView("r1-a", ready=True, running=True, scheduled=True)
LOADS = PodView("r1-b", running=True, scheduled=True, loading=Loading("Loading", 40, 2**30))
WAITS = PodView("r1-c", unscheduled="0/1 nodes are available.")


class World:
    """A resource whose status is reported repeatedly; `events` collects all Event reasons."""

    def __init__(self, **spec: Any):
        self.body = resource(**spec)
        self.events: list[str] = []

    def see(
        self, *pods: PodView, step: Step = SURGE, old: int = 0, **observed: Any
    ) -> dict[str, Any]:
        """Report the status with these pods, of which `old` are of an older spec."""
        live = DeploymentView(
            replicas=len(pods),
            updated=len(pods) - old,
            wanted=self.body["spec"].get("replicas", 1),
            settled=not observed.get("changed", False),
            step=str(step),
        )
        seen = Observed(live, pods, **observed)
        reported: Report = report(self.body, decide(self.body, SETTINGS, seen), seen, NOW)
        self.body = {**self.body, "status": reported.status}
        self.events += [event.reason for event in reported.events]
        return reported.status

    def edit(self, **spec: Any) -> None:
        metadata = {**self.body["metadata"], "generation": self.body["metadata"]["generation"] + 1}
        self.body = {**self.body, "metadata": metadata, "spec": {**self.body["spec"], **spec}}


def serving(**spec: Any) -> World:
    """Return a resource with all replicas serving, without the Events of its start."""
    world = World(**spec)
    world.see(*[SERVES] * spec.get("replicas", 1))
    world.events.clear()
    return world


def test_rollout_with_a_surge() -> None:
    world = serving()
    assert world.see(SERVES, old=1, changed=True)["phase"] == (
        "Rolling out (surge), 0 of 1 replicas new; 1 of 1 serve"
    )
    status = world.see(SERVES, LOADS, old=1)
    assert status["phase"] == (
        "Rolling out (surge), 1 of 1 replicas new: loading the model: 40 % of 1.0 GiB; 1 of 1 serve"
    )
    assert condition(status, "Ready")["reason"] == "RollingOut"
    assert condition(status, "Available")["reason"] == "Serving"
    assert status["rollout"]["startTime"] == NOW
    status = world.see(SERVES)
    assert status["phase"] == "Ready: 1 of 1 replicas serve"
    assert "rollout" not in status
    assert world.events == ["RolloutStarted", "RolloutFinished"]


def test_rollout_in_place_lasts_until_the_replacement_serves() -> None:
    world = serving()
    world.see(SERVES, old=1, step=IN_PLACE, changed=True)
    assert world.see(LOADS, step=IN_PLACE)["phase"] == (
        "Rolling out (in place), 1 of 1 replicas new: loading the model: 40 % of 1.0 GiB; "
        "0 of 1 serve"
    )
    world.see(SERVES, step=IN_PLACE)
    assert world.events == ["RolloutStarted", "RolloutFinished"]


def test_withdrawn_surge() -> None:
    world = serving()
    world.see(SERVES, old=1, changed=True)
    assert "waiting for a node; 1 of 1" in world.see(SERVES, WAITS, old=1)["phase"]
    status = world.see(SERVES, WAITS, old=1, step=Step(Why.WITHDRAWN, 1))
    assert status["phase"].startswith("Rolling out (in place), 1 of 1 replicas new: waiting")
    assert status["rollout"]["reason"] == "SurgeWithdrawn"
    world.see(SERVES, step=Step(Why.WITHDRAWN, 1))
    assert world.events == ["RolloutStarted", "SurgeWithdrawn", "RolloutFinished"]


def test_gpu_that_becomes_free_changes_the_mode() -> None:
    world = serving(replicas=2)
    world.see(SERVES, SERVES, old=2, step=IN_PLACE, changed=True)
    world.see(SERVES, LOADS, old=1, step=IN_PLACE)
    world.see(SERVES, LOADS, old=1, step=SURGE)
    assert world.events == ["RolloutStarted", "RolloutModeChanged"]


def test_failure_in_a_rollout_is_reported_while_others_serve() -> None:
    world = serving()
    world.see(SERVES, old=1, changed=True)
    bad = PodView("r1-b", scheduled=True, waiting=("ErrImagePull", "no such tag"))
    status = world.see(SERVES, bad, old=1)
    assert condition(status, "Ready")["reason"] == "ImageUnavailable"
    assert condition(status, "Available")["status"] == "True"
    assert world.events == ["RolloutStarted", "ImageUnavailable"]


def test_waiting_rollout_reports_the_missing_gpu() -> None:
    world = serving()
    world.see(SERVES, old=1, step=WAIT, changed=True)
    status = world.see(SERVES, WAITS, old=1, step=WAIT)
    assert (
        "waits for a free GPU while all old replicas serve" in condition(status, "Ready")["message"]
    )
    assert condition(status, "Scheduled")["status"] == "False"


def test_largest_holders_of_gpus_are_named() -> None:
    holders = tuple((f"pod a/{number}", 1) for number in range(7))
    gpu_contention = GpuContention(("n1", "n2"), "nvidia.com/gpu", 8, 0, holders)
    world = World()
    status = world.see(WAITS, gpu_contention=gpu_contention)
    assert status["phase"] == "Waiting for nvidia.com/gpu"
    assert (
        "1 of 8 nvidia.com/gpu are free on 2 eligible node(s); held by pod a/0 (1), "
        "pod a/1 (1), pod a/2 (1), pod a/3 (1), pod a/4 (1) and 2 more. "
        "Scheduler: 0/1 nodes are available."
    ) in condition(status, "Ready")["message"]
    assert world.events == ["WaitingForGPU"]
    world.see(WAITS, gpu_contention=replace(gpu_contention, holders=holders[:3]))
    assert world.events == ["WaitingForGPU"], "a change of holders emits no event"


def test_pod_with_free_gpus_waits_for_a_node() -> None:
    world = World()
    status = world.see(WAITS, gpu_contention=GpuContention(("n1",), "nvidia.com/gpu", 8, 8, ()))
    assert status["phase"] == "Waiting for a node"
    message = condition(status, "Ready")["message"]
    assert (
        "8 of 8 nvidia.com/gpu are free on 1 eligible node(s); held by no pods. Scheduler: 0/1"
        in message
    )


def test_lost_replica() -> None:
    world = serving(replicas=2)
    status = world.see(SERVES, LOADS)
    assert status["phase"] == (
        "Degraded: loading the model: 40 % of 1.0 GiB; 1 of 2 replicas serve"
    )
    assert condition(status, "Available")["reason"] == "Degraded"
    assert world.events == ["ReplicaLost", "Loading"]
    world.see(SERVES, LOADS)
    assert world.see(SERVES, SERVES)["phase"] == "Ready: 2 of 2 replicas serve"
    assert world.events == ["ReplicaLost", "Loading", "Ready"]


def test_scaling_is_not_reported_as_a_lost_replica() -> None:
    world = serving(replicas=2)
    world.edit(replicas=1)
    assert world.see(SERVES, SERVES)["phase"] == "Stopping replicas; 1 of 1 replicas serve"
    world.see(SERVES)
    world.edit(replicas=2)
    assert world.see(SERVES, LOADS)["phase"] == (
        "Loading the model: 40 % of 1.0 GiB; 1 of 2 replicas serve"
    )
    assert [reason for reason in world.events if reason == "Scaled"] == ["Scaled"] * 2
    assert "ReplicaLost" not in world.events


def test_refusal_emits_one_event() -> None:
    world = serving()
    world.edit(model={"id": "deepseek-ai/DeepSeek-V1.5"})
    world.see(SERVES)
    world.see(SERVES)
    assert world.events == ["UnknownModel"]


@pytest.mark.parametrize("step", [SURGE, IN_PLACE, WAIT, Step(Why.WITHDRAWN, 1)])
def test_second_report_changes_nothing(step: Step) -> None:
    world = serving()
    world.see(SERVES, old=1, step=step, changed=True)
    first = world.see(SERVES, LOADS, old=1, step=step)
    seen = len(world.events)
    assert world.see(SERVES, LOADS, old=1, step=step) == first
    assert len(world.events) == seen
