"""The cluster that end-to-end tests run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.embedded import REPOSITORY as REPOSITORY_ROOT
from tests.cluster.embedded import EmbeddedCluster
from tests.cluster.faults import ClusterError
from tests.cluster.images.build import built_images
from tests.cluster.install import install, uninstall
from tests.cluster.kubectl import kubectl
from tests.cluster.target import Target, open_target
from tests.e2e.product import REPOSITORY, Product
from tests.kube import Kube, namespace_name
from tests.models.families import PAGED
from tests.models.hub import Repository, serving
from tests.models.tiny import make_tiny


@pytest.fixture(scope="session")
def cluster() -> Iterator[Target]:
    """A cluster with a node and a registry: the one that is up, or one that ends with this run."""
    try:
        target = open_target()
        started = target.up(["node", "registry"], lifeline=True)
    except ClusterError as error:
        pytest.exit(f"no cluster for the end-to-end tests: {error}", returncode=2)
    yield target
    if started:
        target.down()


# Parts that only some tests need; whoever asks for one of these fixtures comes after all others.
ADDED = ("mesh", "enforced")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests without Istio and without a firewall run first: a part that is up stays up."""
    items.sort(key=lambda item: any(name in getattr(item, "fixturenames", ()) for name in ADDED))


@pytest.fixture(scope="session")
def mesh(cluster: Target) -> Target:
    """The cluster with Istio."""
    return _with_part(cluster, "istio")


@pytest.fixture(scope="session")
def enforced(cluster: Target) -> Target:
    """The cluster with network policies that are enforced."""
    return _with_part(cluster, "netpol")


def _with_part(cluster: Target, part: str) -> Target:
    if cluster.kind != "embedded":
        pytest.skip(f"a {cluster.kind} cluster may lack the part {part}; install it to try by hand")
    cluster.up(["node", "registry", part])
    return cluster


@pytest.fixture(scope="session")
def models() -> dict[str, Path]:
    """Directories of tiny models, by family, that pods can read."""
    root = REPOSITORY_ROOT / ".cluster/test-models"
    return {family: make_tiny(family, root / family) for family in PAGED}


@pytest.fixture(scope="session")
def hub(cluster: Target, models: dict[str, Path]) -> Iterator[str]:
    """A stand-in for the model hub, where pods reach it: there is no internet in tests."""
    if not isinstance(cluster, EmbeddedCluster):
        yield ""
        return
    repositories = {REPOSITORY: Repository(models["qwen2"])}
    with serving(repositories, str(cluster.addresses.host)) as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def product(cluster: Target, hub: str) -> Iterator[Product]:
    """The operator from this tree's images and chart."""
    images = built_images(cluster)
    install(cluster, images, {"hub.endpoint": hub})
    installed = Product(cluster, images)
    installed.pull_server()
    yield installed
    uninstall(cluster)


@pytest.fixture
def kube(cluster: Target, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A namespace of its own for every test."""
    name = namespace_name(request.node.name)
    kubectl(cluster, "create", "namespace", name)
    yield Kube(cluster, name)
    kubectl(cluster, "delete", "namespace", name, "--wait=false")
