"""Faults of the operator: killed, frozen, stopped, or beside a standby."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.chaos.kubelet import Kubelet
from tests.chaos.world import World
from tests.support.kube import eventually
from tests.support.operator_process import OperatorProcess

# Longest time that a standby may take: the lease duration and its poll interval.
TAKE_OVER = 17.0
LEASE = ("get", "lease", "deepseek-operator", "--namespace", "default", "--output", "json")


@dataclass(frozen=True)
class Pair:
    """Two operators: a leader and a standby."""

    first: OperatorProcess
    second: OperatorProcess

    def await_the_other(self, seconds: float) -> None:
        """Wait until the second operator leads."""
        leads = "deepseek_operator_leader"
        eventually("the standby leads", lambda: self.second.metric(leads) == 1, seconds)


@pytest.fixture
def pair(control_plane: Target, tmp_path: Path) -> Iterator[Pair]:
    first, second = (
        OperatorProcess(control_plane.kubeconfig, tmp_path / f"{name}.log", name)
        for name in ("operator-0", "operator-1")
    )
    try:
        first.start()
        second.start("standing by")
        yield Pair(first, second)
    finally:
        first.kill()
        second.kill()


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.long)])
def test_the_operator_converges_after_kills_at_random_points_of_a_burst(
    world: World, operator: Kubelet, kills: int
) -> None:
    names = [f"burst-{number:03}" for number in range(kills * 4)]
    chance = random.Random(kills)
    for number in range(kills):
        world.apply(*names[number * 4 : number * 4 + 4])
        if number:
            world.apply(names[number * 4 - 1], replicas=number % 5)
        # Between the middle of its start and the middle of its work.
        time.sleep(chance.uniform(0.2, 4.0))
        operator.kill()
    world.converges(*names)
    assert operator.restarts >= kills


def test_a_standby_takes_over_at_once_from_a_leader_that_stops(world: World, pair: Pair) -> None:
    first, second = pair.first, pair.second
    assert first.metric("deepseek_operator_leader") == 1
    assert second.metric("deepseek_operator_leader") == 0
    world.apply("r1")
    world.converges("r1")
    assert second.metric("deepseek_operator_writes_total") == 0
    assert first.stop() == 0
    # The release of the lease changes it: a standby that waited for its expiry would need 15 s more.
    pair.await_the_other(12)
    world.apply("r1", replicas=2)
    world.converges("r1")
    # It had nothing to repair.
    kinds = [line for line in second.fetch("/metrics").splitlines() if "writes_total{" in line]
    assert {line.split('"')[1] for line in kinds} <= {"Deployment", "DeepSeekDeployment"}


@pytest.mark.long
def test_a_standby_takes_over_within_the_lease_duration_from_a_killed_leader(
    world: World, pair: Pair
) -> None:
    pair.first.kill()
    begun = time.monotonic()
    pair.await_the_other(30)
    assert time.monotonic() - begun < TAKE_OVER
    world.apply("r1")
    world.converges("r1")


@pytest.mark.long
def test_a_frozen_leader_writes_nothing_when_it_resumes(world: World, pair: Pair) -> None:
    first, second = pair.first, pair.second
    world.apply("r1")
    world.converges("r1")
    first.send(signal.SIGSTOP)
    pair.await_the_other(30)
    # Queue work that it would do if it still believed to be the leader.
    second.kill()
    world.apply("r1", replicas=3)
    world.apply("r2")
    before = world.from_now_on()
    first.send(signal.SIGCONT)
    eventually("it exits", lambda: first.exit_code is not None)
    assert first.exit_code == 1
    assert "lease" in first.log.splitlines()[-1]
    assert before.writes(lambda entry: "deepseek" in entry["userAgent"]) == {}


@pytest.mark.long
@pytest.mark.parametrize("stamp", ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"])
def test_a_standby_whose_clock_differs_judges_by_changes_of_the_lease(
    control_plane: Target, tmp_path: Path, stamp: str
) -> None:
    """By its own clock the leader's times are of long ago, or of the far future."""

    def hold(**spec: Any) -> None:
        found = json.loads(kubectl(control_plane, *LEASE))
        found["spec"] |= {"holderIdentity": "another", "leaseDurationSeconds": 15, **spec}
        kubectl(control_plane, "replace", "--filename", "-", text=json.dumps(found))

    standby = OperatorProcess(control_plane.kubeconfig, tmp_path / "standby.log", "operator-0")
    standby.start()
    standby.stop()
    hold(renewTime=stamp, leaseTransitions=1)
    standby.start("standing by")
    try:
        for turn in range(2, 7):
            time.sleep(5)
            # Only a change of the Lease shows that its holder is alive.
            hold(renewTime=stamp, leaseTransitions=turn)
            assert standby.metric("deepseek_operator_leader") == 0
        begun = time.monotonic()
        eventually("it leads", lambda: standby.metric("deepseek_operator_leader") == 1)
        assert 10 < time.monotonic() - begun < TAKE_OVER
    finally:
        standby.kill()
