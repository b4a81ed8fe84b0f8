"""Temporary failures of the API server, of its store, and of the connection to it."""

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

# Seconds for the lease to expire and the operator to restart.
RECOVERY = 120.0


def answers(world: World) -> bool:
    try:
        world.kube.all("dsd")
    except ClusterError:
        return False
    return True


@pytest.mark.parametrize("status", [429, 500])
def test_the_operator_converges_after_half_of_its_requests_were_refused(
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
def test_the_operator_restarts_without_a_request_storm_while_all_requests_are_refused(
    world: World, behind_proxy: Kubelet, proxy: Proxy
) -> None:
    world.apply("r1")
    world.converges("r1")
    proxy.refusal = (500, 1.0)
    world.apply("r1", replicas=2)
    time.sleep(40)
    # A process that can't renew its lease ends; the restarted one keeps trying to acquire it.
    assert behind_proxy.restarts >= 1
    refused = proxy.refused
    time.sleep(10)
    assert proxy.refused - refused < 200
    proxy.refusal = None
    world.converges("r1")


@pytest.mark.long
def test_the_operator_converges_after_kills_of_the_api_server(
    world: World, operator: Kubelet
) -> None:
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
def test_the_operator_converges_after_a_frozen_etcd(world: World, operator: Kubelet) -> None:
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
def test_silent_watch_streams_are_reopened_without_a_restart(
    world: World, behind_proxy: Kubelet, proxy: Proxy
) -> None:
    """A load balancer may drop a connection silently: no data arrives, and nothing is closed."""
    world.apply("r1", "r2")
    world.converges("r1", "r2")
    proxy.silent = True
    world.apply("r1", replicas=4)
    world.kube.run("delete", "service", "r1", "--wait=false")
    world.kube.run("delete", "dsd", "r2", "--wait=false")
    world.apply("r3")
    eventually("streams are silenced", lambda: proxy.silenced >= 4)
    time.sleep(10)
    proxy.silent = False  # new streams work; silenced ones stay silent
    world.converges("r1", "r3", patience=200)
    assert behind_proxy.restarts == 0
    metrics = behind_proxy.operator.fetch("/metrics")
    assert 'deepseek_operator_watch_restarts_total{kind="Service",reason="silent"}' in metrics
    assert behind_proxy.operator.fetch("/healthz") == "alive\n"
