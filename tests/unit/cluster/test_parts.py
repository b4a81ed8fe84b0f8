"""Dependencies of parts."""

import pytest

from hack.cluster.faults import ClusterError
from hack.cluster.parts import expand, groups_of


def test_dependencies_come_before_a_part() -> None:
    assert expand(["kwok"]) == ("api", "controllers", "kwok")
    assert expand(["registry", "node"]) == ("api", "controllers", "node", "registry")


def test_only_requested_groups_are_built() -> None:
    assert groups_of(expand(["api"])) == ["etcd", "kubernetes"]
    assert "kwok" not in groups_of(expand(["node", "registry"]))


def test_an_unknown_part_lists_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="no part 'ambient'") as caught:
        expand(["ambient"])
    assert "kwok" in str(caught.value)
