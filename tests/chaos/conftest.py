"""A control plane that tests may disrupt, and the operator that runs against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster.embedded import DEFAULT_STATE
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target, open_target
from tests.chaos.kubelet import Kubelet
from tests.chaos.proxy import Proxy
from tests.chaos.world import World
from tests.support.control_plane import running
from tests.support.kube import Kube, namespace_name
from tests.support.operator_process import OperatorProcess

STATE = DEFAULT_STATE / "chaos"


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Target]:
    """etcd, API server and controllers: namespaces are deleted and garbage is collected."""
    target = open_target(state=STATE)
    if target.kind != "embedded":
        pytest.skip(f"faults are injected into an embedded cluster only, not a {target.kind} one")
    with running(target, ("controllers",)):
        yield target


@pytest.fixture
def world(control_plane: Target, request: pytest.FixtureRequest) -> World:
    """A namespace of its own for every test, with the checks for convergence."""
    name = namespace_name(request.node.name)
    kubectl(control_plane, "create", "namespace", name)
    return World(Kube(control_plane, name), STATE.absolute())


@pytest.fixture
def operator(control_plane: Target, tmp_path: Path) -> Iterator[Kubelet]:
    """The operator, restarted whenever it ends."""
    kubelet = Kubelet(OperatorProcess(control_plane.kubeconfig, tmp_path / "operator.log"))
    yield kubelet
    kubelet.stop()


@pytest.fixture
def proxy(control_plane: Target, tmp_path: Path) -> Iterator[Proxy]:
    """The proxy between the API server and the operator of `behind_proxy`."""
    proxy = Proxy(control_plane.kubeconfig, tmp_path)
    yield proxy
    proxy.close()


@pytest.fixture
def behind_proxy(proxy: Proxy, tmp_path: Path) -> Iterator[Kubelet]:
    """The operator, which reaches the API server only through the proxy."""
    kubelet = Kubelet(OperatorProcess(proxy.kubeconfig, tmp_path / "operator.log"))
    yield kubelet
    kubelet.stop()
