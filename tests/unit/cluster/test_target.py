"""Selection of the cluster, and errors if none is available."""

import os
import platform
from pathlib import Path

import pytest

from hack.cluster.current import CurrentCluster
from hack.cluster.embedded import check_machine
from hack.cluster.faults import ClusterError
from hack.cluster.kind import KindCluster
from hack.cluster.target import choose


def test_kind_is_the_default_only_with_docker_and_kind() -> None:
    assert choose("", docker=lambda: True, kind=True) == "kind"
    assert choose("", docker=lambda: False, kind=True) == "embedded"
    assert choose("", docker=lambda: True, kind=False) == "embedded"


@pytest.mark.parametrize("wish", ["embedded", "current"])
def test_an_explicit_choice_does_not_call_docker(wish: str) -> None:
    def docker() -> bool:
        raise AssertionError("asked")

    assert choose(wish, docker=docker, kind=True) == wish


@pytest.mark.parametrize(
    ("docker", "kind", "missing"),
    [
        (False, True, "needs a Docker engine that answers `docker info`;"),
        (True, False, "needs the program kind on PATH (https://kind.sigs.k8s.io);"),
        (False, False, "kind on PATH (https://kind.sigs.k8s.io) and a Docker engine"),
    ],
)
def test_missing_requirements_of_kind_are_named(docker: bool, kind: bool, missing: str) -> None:
    with pytest.raises(ClusterError) as caught:
        choose("kind", docker=lambda: docker, kind=kind)
    assert missing in str(caught.value)


def test_an_unknown_choice_lists_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="CLUSTER=minikube is unknown: use embedded, kind or"):
        choose("minikube", docker=lambda: True, kind=True)


def test_refuses_to_run_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="needs root"):
        check_machine()


def test_refuses_other_systems_than_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(ClusterError, match="needs Linux, this is Darwin"):
        check_machine()


def test_the_current_context_must_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(ClusterError, match="does not answer"):
        CurrentCluster().up()


def test_kind_refuses_parts_that_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="CLUSTER=kind has no kwok"):
        KindCluster(tmp_path).up(kwok_nodes=3)
