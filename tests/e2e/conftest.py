"""The cluster that end-to-end tests run on."""

import json
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest

from hack.cluster.components.kwok import fake_node
from hack.cluster.embedded import REPOSITORY as REPOSITORY_ROOT
from hack.cluster.embedded import EmbeddedCluster
from hack.cluster.faults import ClusterError
from hack.cluster.images.build import built_images
from hack.cluster.install import install, uninstall
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from hack.models.families import PAGED
from hack.models.hub import Repository, serving
from hack.models.tiny import make_tiny
from tests.support.e2e import clusters
from tests.support.e2e.evidence import evidence
from tests.support.e2e.product import REPOSITORY, Product
from tests.support.kube import Kube, new_namespace

FAKE_NODES = 20


# The running cluster, whose state and logs are added to the report of a failing test.
_open: list[Target] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize each test that uses a cluster with the name in its mark."""
    if "cluster" in metafunc.fixturenames:
        name = clusters.name_of(metafunc.definition)
        metafunc.parametrize("cluster", [name], indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests by cluster, in the order of each cluster's first test."""
    wanted = {item: clusters.name_of(item) for item in items if "cluster" in _fixtures(item)}
    order = {name: number for number, name in enumerate(dict.fromkeys(wanted.values()))}
    items.sort(key=lambda item: order[wanted[item]] if item in wanted else -1)


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of operator, gateways and controllers to the report of a failing test."""
    report = yield
    if report.failed and _open and "cluster" in _fixtures(item):
        report.sections.extend(evidence(_open[-1]))
    return report


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A cluster with the parts that the test's mark names; stopped after its last test."""
    try:
        target, started = clusters.start(request.param)
    except ClusterError as error:
        pytest.exit(f"no cluster for the end-to-end tests: {error}", returncode=2)
    if request.param != clusters.PLAIN and target.kind != "embedded":
        pytest.skip(f"a {target.kind} cluster may lack the parts of {request.param}")
    _open.append(target)
    yield target
    _open.remove(target)
    if started:
        target.down()


@pytest.fixture
def fake_nodes(cluster: Target) -> Iterator[None]:
    """Twenty fake nodes with eight GPUs each, on which no pod really runs; request before `kube`."""
    if cluster.kind != "embedded":
        pytest.skip(f"a {cluster.kind} cluster has no fake nodes")
    nodes = [fake_node(number) for number in range(FAKE_NODES)]
    names = [f"node/{node['metadata']['name']}" for node in nodes]
    text = "\n---\n".join(map(json.dumps, nodes))
    kubectl(cluster, "apply", "--server-side", "--filename", "-", text=text)
    kubectl(cluster, "wait", "--for=condition=Ready", *names, "--timeout=60s")
    yield
    kubectl(cluster, "delete", *names, "--ignore-not-found")


@pytest.fixture(scope="session")
def models() -> dict[str, Path]:
    """Directories of tiny models by family, readable by pods."""
    root = REPOSITORY_ROOT / ".cluster/test-models"
    return {family: make_tiny(family, root / family) for family in PAGED}


@pytest.fixture(scope="session")
def hub(cluster: Target, models: dict[str, Path]) -> Iterator[str]:
    """URL of a fake model hub that pods can reach; tests have no internet access."""
    if not isinstance(cluster, EmbeddedCluster):
        yield ""
        return
    repositories = {REPOSITORY: Repository(models["qwen2"])}
    with serving(repositories, str(cluster.addresses.host)) as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def product(cluster: Target, hub: str) -> Iterator[Product]:
    """The operator, installed from this checkout's images and chart."""
    images = built_images(cluster)
    install(cluster, images, {"hub.endpoint": hub})
    installed = Product(cluster, images)
    installed.pull_server()
    yield installed
    uninstall(cluster)


@pytest.fixture
def kube(cluster: Target, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A new namespace for each test."""
    with new_namespace(cluster, request.node.originalname) as kube:
        yield kube
