"""A real API server (nothing else of a cluster), and the operator as a process against it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.embedded import DEFAULT_STATE
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target, open_target
from tests.support.control_plane import running
from tests.support.kube import Kube, namespace_name
from tests.support.operator_process import OperatorProcess


@pytest.fixture(scope="session")
def api_server() -> Iterator[Target]:
    """An API server with the CRD; it ends with the test run, even if that crashes."""
    with running(open_target(state=DEFAULT_STATE / "api"), ("api",)) as target:
        yield target


@pytest.fixture
def kube(api_server: Target, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A namespace of its own for every test, whose resources are deleted after it."""
    name = namespace_name(request.node.name)
    kubectl(api_server, "create", "namespace", name)
    yield Kube(api_server, name)
    kubectl(api_server, "delete", "dsd", "--all", "--wait=false", "--namespace", name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the operator's log to the report of a failed test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, OperatorProcess):
                report.sections.append(("The operator's log", value.log[-8000:]))
    return report


@pytest.fixture(scope="session")
def started() -> list[OperatorProcess]:
    """The shared operator, once a test has requested it."""
    return []


@pytest.fixture(scope="session")
def shared_operator(
    api_server: Target, started: list[OperatorProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator shared by all tests that need no other: a start costs more than most tests."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    process = OperatorProcess(api_server.kubeconfig, log)
    started.append(process)
    yield process
    process.kill()


@pytest.fixture
def operator(shared_operator: OperatorProcess) -> Iterator[OperatorProcess]:
    """The running operator, with a log that begins with the test."""
    shared_operator.log_from_now_on()
    if not shared_operator.runs:
        shared_operator.start()
    yield shared_operator
    assert shared_operator.exit_code is None, "the operator has ended unexpectedly"


@pytest.fixture(autouse=True)
def without_shared_operator(started: list[OperatorProcess], request: pytest.FixtureRequest) -> None:
    """Stop the shared operator for tests that do not request it."""
    if "operator" not in request.fixturenames:
        for process in started:
            process.kill()


@pytest.fixture
def audit_log(api_server: Target) -> Path:
    """The API server's audit log."""
    if api_server.kind != "embedded":
        pytest.skip(f"a {api_server.kind} cluster has no audit log that tests can read")
    return api_server.kubeconfig.parent / "logs/audit.log"
