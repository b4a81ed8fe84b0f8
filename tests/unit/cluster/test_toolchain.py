"""Keys of built programs, and builds that fail."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import toolchain
from hack.cluster.faults import ClusterError
from hack.cluster.parts import PARTS
from hack.cluster.toolchain import Group

GO = "go1.26.8 linux/amd64"


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    monkeypatch.setattr(toolchain, "BUILDS", tmp_path)
    folder = tmp_path / "etcd"
    folder.mkdir()
    (folder / "go.mod").write_text("module etcd\n")
    (folder / "go.sum").write_text("")
    return Group("etcd", {"etcd": "go.etcd.io/etcd"})


def test_the_same_content_has_the_same_key(group: Group) -> None:
    assert toolchain.key(group, GO) == toolchain.key(Group("etcd", dict(group.binaries)), GO)


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "cmd/main.go"])
def test_every_source_is_part_of_the_key(group: Group, name: str) -> None:
    before = toolchain.key(group, GO)
    path = group.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed")
    assert toolchain.key(group, GO) != before


def test_compiler_binaries_stamps_and_files_are_part_of_the_key(group: Group) -> None:
    keys = {
        toolchain.key(group, GO),
        toolchain.key(group, "go1.27.0 linux/amd64"),
        toolchain.key(Group("etcd", {"etcd": "other"}), GO),
        toolchain.key(Group("etcd", group.binaries, stamp={"version": "v2"}), GO),
        toolchain.key(Group("etcd", group.binaries, files={"m": ["*.yaml"]}), GO),
    }
    assert len(keys) == 5


def test_every_group_of_every_part_is_pinned() -> None:
    beside = {"actionlint", "helm", "route-apis"}
    needed = {name for part in PARTS.values() for name in part.groups} | beside
    assert needed == toolchain.groups().keys()
    for group in toolchain.groups().values():
        assert (group.folder / "go.mod").exists()


@pytest.fixture
def _no_cached_go_version() -> Iterator[None]:
    toolchain.go_version.cache_clear()
    yield
    toolchain.go_version.cache_clear()


@pytest.mark.usefixtures("_no_cached_go_version")
def test_without_go_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Go 1\.26 or newer .* https://go\.dev/dl"):
        toolchain.go_version()


@pytest.mark.usefixtures("_no_cached_go_version")
def test_an_old_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.21.4; echo linux; echo amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ClusterError, match=r"is go1\.21\.4"):
        toolchain.go_version()


@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go on PATH")
def test_a_failed_build_leaves_no_artefact_and_reports_the_cause(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group.folder / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    monkeypatch.setenv("DSO_CACHE", str(tmp_path / "cache"))
    broken = Group("etcd", {"etcd": "."})
    monkeypatch.setattr(toolchain, "groups", lambda: {"etcd": broken})
    with pytest.raises(ClusterError, match="undefined"):
        toolchain.build(["etcd"])
    assert not toolchain.artefact(broken).exists()
