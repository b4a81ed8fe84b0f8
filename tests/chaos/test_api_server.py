"""The API server, its store, or the way to it fails for a while."""

from __future__ import annotations

import os
import signal
import time

import pytest

from hack.cluster.faults import ClusterError
from tests.chaos.kubelet import Kubelet
from tests.chaos.proxy import Proxy
from tests.chaos.world import World
from tests.support.kube import eventually

# Time that the lease may take to run out, and a start after that.
RECOVERY = 120.0


def answers(world: World) -> bool:
    try:
        world.kube.all("dsd")
    except ClusterError:
        return False
    return True


@pytest.mark.parametrize("status", [429, 500])
def test_a_storm_of_refusals(
    world: World, behind_proxy: Kubelet, proxy: Proxy, status: int
) -> None:
    names = [f"r{number}" for number in range(6)]
    proxy.refusal = (status, 0.5)
    world.apply(*names)
    eventually("many requests are refused", lambda: proxy.refused > 20)
    world.apply("r1", replicas=3)
    time.sleep(2)
    proxy.refusal = None
    world.converges(*names)


@pytest.mark.long
def test_a_storm_in_which_nothing_gets_through(
    world: World, behind_proxy: Kubelet, proxy: Proxy
) -> None:
    world.apply("r1")
    world.converges("r1")
    proxy.refusal = (500, 1.0)
    world.apply("r1", replicas=2)
    time.sleep(40)
    # A process that can't renew its lease ends, and what stands by tries again and again.
    assert behind_proxy.restarts >= 1
    refused = proxy.refused
    time.sleep(10)
    assert proxy.refused - refused < 200
    proxy.refusal = None
    world.converges("r1")


@pytest.mark.long
def test_the_api_server_is_killed(world: World, operator: Kubelet) -> None:
    world.apply("r1", "r2")
    world.converges("r1", "r2")
    for _ in range(3):
        old = world.pid("kube-apiserver")
        os.kill(old, signal.SIGKILL)
        time.sleep(1)
        eventually("the API server is back", lambda: answers(world))
        world.apply("r1", replicas=2)
        world.kube.run("delete", "service", "r2", "--wait=false")
        world.converges("r1", "r2")
        world.apply("r1", replicas=1)


@pytest.mark.long
def test_the_store_stands_still_for_half_a_minute(world: World, operator: Kubelet) -> None:
    world.apply("r1", "r2")
    world.converges("r1", "r2")
    etcd = world.pid("etcd")
    os.kill(etcd, signal.SIGSTOP)
    try:
        time.sleep(30)
    finally:
        os.kill(etcd, signal.SIGCONT)
    eventually("the API server answers", lambda: answers(world))
    world.apply("r3")
    world.apply("r1", replicas=2)
    world.kube.run("delete", "configmap", "r2", "--wait=false")
    world.converges("r1", "r2", "r3", patience=RECOVERY)


@pytest.mark.long
def test_watch_streams_that_go_silent(world: World, behind_proxy: Kubelet, proxy: Proxy) -> None:
    """As behind a load balancer that forgets a connection: nothing comes, nothing is closed."""
    world.apply("r1", "r2")
    world.converges("r1", "r2")
    proxy.silent = True
    world.apply("r1", replicas=4)
    world.kube.run("delete", "service", "r1", "--wait=false")
    world.kube.run("delete", "dsd", "r2", "--wait=false")
    world.apply("r3")
    eventually("streams were cut", lambda: proxy.silenced >= 4)
    time.sleep(10)
    proxy.silent = False  # new streams live; those that were cut stay as they are
    world.converges("r1", "r3", patience=200)
    assert behind_proxy.restarts == 0
    metrics = behind_proxy.operator.fetch("/metrics")
    assert 'deepseek_operator_watch_restarts_total{kind="Service",reason="silent"}' in metrics
    assert behind_proxy.operator.fetch("/healthz") == "alive\n"
