"""Calls of kind and kubectl, recorded by fake programs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hack.cluster.faults import ClusterError
from hack.cluster.kind import KindCluster

Calls = Callable[[], list[str]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put fake `kind` and `kubectl` on PATH that succeed."""
    folder, noted = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    for name in ("kind", "kubectl"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {noted}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: noted.read_text().splitlines() if noted.exists() else []


def test_remains_are_removed_before_a_cluster_with_gpus_is_created(
    tmp_path: Path, calls: Calls
) -> None:
    cluster = KindCluster(tmp_path)
    assert cluster.up(gpus=8)
    delete, create, gpus, labels = calls()
    assert delete == "kind delete cluster --name deepseek-operator"
    assert create.startswith("kind create cluster --name deepseek-operator --kubeconfig")
    assert '"allocatable": {"nvidia.com/gpu": "8"}' in gpus
    assert "--subresource=status" in gpus
    assert "nvidia.com/gpu.product" in labels


def test_a_cluster_that_answers_is_left_as_it_is(tmp_path: Path, calls: Calls) -> None:
    cluster = KindCluster(tmp_path)
    cluster.kubeconfig.touch()
    assert cluster.up() is False
    assert all("--raw /readyz" in call for call in calls())


def test_down_deletes_it(tmp_path: Path, calls: Calls) -> None:
    cluster = KindCluster(tmp_path)
    cluster.kubeconfig.touch()
    cluster.down()
    assert calls() == ["kind delete cluster --name deepseek-operator"]
    assert not cluster.is_up()


@pytest.mark.usefixtures("calls")
def test_errors_of_kind_are_reported(tmp_path: Path) -> None:
    (tmp_path / "bin" / "kind").write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    with pytest.raises(ClusterError, match=r"kind delete cluster.*no space left"):
        KindCluster(tmp_path).down()
