"""The cluster that end-to-end tests run on."""

from collections.abc import Iterator

import pytest

from tests.cluster.faults import ClusterError
from tests.cluster.target import Target, open_target


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
