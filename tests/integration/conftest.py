"""A real API server (nothing else of a cluster), and the operator as a process against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.embedded import DEFAULT_STATE
from tests.cluster.kubectl import kubectl
from tests.cluster.target import Target, open_target
from tests.control_plane import running
from tests.integration.operator_process import OperatorProcess
from tests.kube import Kube, namespace_name


@pytest.fixture(scope="session")
def api_server() -> Iterator[Target]:
    """An API server with the CRD; it ends with the test run, however that ends."""
    with running(open_target(state=DEFAULT_STATE / "api"), ("api",)) as target:
        yield target


@pytest.fixture
def kube(api_server: Target, request: pytest.FixtureRequest) -> Kube:
    """A namespace of its own for every test."""
    name = namespace_name(request.node.name)
    kubectl(api_server, "create", "namespace", name)
    return Kube(api_server, name)


@pytest.fixture
def operator(api_server: Target, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator, running."""
    process = OperatorProcess(api_server.kubeconfig, tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def audit_log(api_server: Target) -> Path:
    """The API server's own record of who wrote what."""
    if api_server.kind != "embedded":
        pytest.skip(f"a {api_server.kind} cluster keeps no audit log that we can read")
    return api_server.kubeconfig.parent / "logs/audit.log"
