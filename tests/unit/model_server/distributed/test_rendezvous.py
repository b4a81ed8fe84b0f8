"""The rendezvous connects the pods of a model and names missing and different ones."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, Queue
from threading import Event

import pytest

from deepseek_server.config import Config, validate
from deepseek_server.distributed import rendezvous
from deepseek_server.distributed.gang import Pod
from deepseek_server.errors import GangError, PermanentError, StartError
from tests.unit.model_server.distributed.conftest import free_port

Call = Callable[..., "Future[rendezvous.ConnectedPods]"]


def configured(pods: int, ranks: int, seconds: float, port: int, **fields: object) -> Config:
    gang = {"pods": pods, "port": port, "meetSeconds": seconds}
    return validate({"model": {"id": "a/b"}, "tensorParallel": ranks, "gang": gang, **fields}, "it")


@pytest.fixture
def call() -> Call:
    """Run a pod's rendezvous in a thread."""
    port, pool = free_port(), ThreadPoolExecutor(4)

    def one(index, pods=2, seconds=20, ranks=4, here=None, **fields):
        config = configured(pods, ranks, seconds, port, **fields)
        pod = Pod(index, "127.0.0.1", f"node-{'abc'[index]}")
        return pool.submit(rendezvous.connect, config, pod, *([here] if here else []))

    one.port = port
    return one


def sentence(calling: "Future[rendezvous.ConnectedPods]", kind: type[StartError]) -> str:
    with pytest.raises(kind) as failed:
        calling.result(20)
    assert "\n" not in str(failed.value)
    return str(failed.value)


def test_all_pods_get_the_hosts(call: Call) -> None:
    calling = [call(index, 3, ranks=6) for index in (2, 0, 1)]
    assert {found.result(20).hosts for found in calling} == {("node-a", "node-b", "node-c")}


def test_a_different_configuration_ends_all_pods_with_the_same_message(call: Call) -> None:
    leader, other = call(0), call(1, drainSeconds=7)
    message = sentence(leader, PermanentError)
    assert sentence(other, PermanentError) == message
    digests = [configured(2, 4, 20, call.port, **more).digest for more in ({}, {"drainSeconds": 7})]
    assert message == (
        f"rank 2 on node-b has a configuration with the digest {digests[1]}, but that of rank 0 on "
        f"node-a has {digests[0]}: use the same configuration file for all pods of the model"
    )


def test_the_listen_address_may_differ(call: Call) -> None:
    leader, other = call(0), call(1, listen={"port": 1234})
    assert leader.result(20).hosts == other.result(20).hosts


def test_different_versions_and_sizes() -> None:
    leader = rendezvous.Introduction(0, "node-a", {"torch": "2.15", "transformers": "5"}, 4, "abc")
    other = replace(leader, pod=1, host="node-b")
    assert rendezvous.disagreement(leader, other, 2) == ""
    other = replace(other, versions={"torch": "2.11", "transformers": "5"}, world=8, digest="def")
    assert rendezvous.disagreement(leader, other, 2) == (
        "rank 2 on node-b runs torch 2.11, but rank 0 on node-a runs 2.15: use the same image for "
        "all pods of the model"
    )
    other = replace(other, versions=leader.versions)
    assert "rank 2 on node-b expects 8 ranks, but rank 0 on node-a expects 4" in (
        rendezvous.disagreement(leader, other, 2)
    )


def test_a_missing_pod_is_named(call: Call) -> None:
    second = call(2, 3, seconds=1, ranks=6)
    leader = call(0, 3, seconds=1, ranks=6)
    message = sentence(leader, GangError)
    assert (
        "pod 1 has not connected to the leader on node-a within gang.meetSeconds (3 pods expected)"
        in message
    )
    assert sentence(second, GangError) == message


def test_a_missing_leader(call: Call) -> None:
    message = sentence(call(1, seconds=0.3), GangError)
    assert f"pod 1 on node-b did not connect to the leader at 127.0.0.1 port {call.port}" in (
        message
    )
    assert "within 0.3 s (Connection refused)" in message


def test_unknown_peers_and_restarted_pods_are_handled(call: Call) -> None:
    listening, counted = Event(), []

    def here(count: int) -> None:
        counted.append(count)
        listening.set()

    # A pod that was killed after it had connected, one with an invalid number, and an unknown peer.
    dead = rendezvous.introduction(Pod(1, "127.0.0.1", "node-x"), configured(3, 6, 20, call.port))
    leader = call(0, 3, ranks=6, here=here)
    assert listening.wait(20)
    for content in (dead, replace(dead, pod=7), None):
        connection = connected(call.port)
        if content is None:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        else:
            rendezvous._send(connection, rendezvous.asdict(content))
        connection.close()
    others = [call(index, 3, ranks=6) for index in (1, 2)]
    for calling in (leader, *others):
        assert calling.result(20).hosts == ("node-a", "node-b", "node-c")


def connected(port: int) -> socket.socket:
    for _ in range(1000):
        try:
            return socket.create_connection(("127.0.0.1", port), 20)
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise AssertionError("the leader does not listen")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PermanentError, match=f"cannot listen on port {port} for the other"):
            rendezvous.connect(configured(2, 4, 5, port), Pod(0, "127.0.0.1", "node-a"))


def test_a_pod_that_leaves_before_its_ranks_connect_is_detected(call: Call) -> None:
    leader, other = _met(call)
    lost: Queue[int] = Queue()
    leader.watch(lost.put)
    with pytest.raises(Empty):
        lost.get(timeout=0.5)
    other.leave()
    assert lost.get(timeout=20) == 1


def test_a_pod_may_disconnect_once_the_ranks_have_connected(call: Call) -> None:
    leader, other = _met(call)
    lost: Queue[int] = Queue()
    leader.watch(lost.put)
    leader.close()
    other.leave()
    with pytest.raises(Empty):
        lost.get(timeout=1)


def _met(call: Call) -> tuple[rendezvous.ConnectedPods, rendezvous.ConnectedPods]:
    leader, other = call(0), call(1)
    return leader.result(20), other.result(20)
