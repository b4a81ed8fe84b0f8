"""Build of the cluster's programs from pinned Go modules, each group once per content.

An artefact is named by a hash of all its inputs, built in a temporary folder and renamed to its
final path: a killed build leaves nothing that looks like a result, and the next build continues from
Go's own cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.faults import ClusterError
from hack.cluster.progress import say, step

BUILDS = Path(__file__).parent / "builds"
GO_NEEDED = (1, 26)


@dataclass(frozen=True)
class Group:
    """Programs and files of one module graph; see builds/groups.yaml."""

    name: str
    binaries: Mapping[str, str] = field(default_factory=dict)
    stamp: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the group's go.mod."""
        return BUILDS / self.name


def cache_dir() -> Path:
    """Return the directory of persistent data: artefacts, images, the registry's data."""
    return Path(os.environ.get("DSO_CACHE") or "~/.cache/deepseek-operator").expanduser()


@cache
def groups() -> dict[str, Group]:
    """Return all groups of builds/groups.yaml by name."""
    data: dict[str, Any] = yaml.safe_load((BUILDS / "groups.yaml").read_text())
    return {name: Group(name=name, **entry) for name, entry in data.items()}


@cache
def go_version() -> str:
    """Return the Go release and platform of the builds, such as `go1.26.8 linux/amd64`.

    Raises:
        ClusterError: Go is not installed or too old.
    """
    go = shutil.which("go")
    if go is None:
        raise ClusterError(
            f"Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or newer is needed to build the cluster's programs, "
            "and there is no `go` on PATH: install it from https://go.dev/dl"
        )
    text = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"], check=True, capture_output=True, text=True
    ).stdout.split()
    number = re.match(r"go(\d+)\.(\d+)", text[0])
    if number and (int(number[1]), int(number[2])) < GO_NEEDED:
        raise ClusterError(
            f"Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or newer is needed to build the cluster's programs, "
            f"{go} is {text[0]}"
        )
    return f"{text[0]} {text[1]}/{text[2]}"


def key(group: Group, compiler: str) -> str:
    """Return the hash of a group's content, which changes with any input of its artefact."""
    digest = hashlib.sha256(compiler.encode())
    digest.update(json.dumps([group.binaries, group.stamp, group.files], sort_keys=True).encode())
    for source in sorted(path for path in group.folder.rglob("*") if path.is_file()):
        name = source.relative_to(group.folder)
        digest.update(f"\0{name}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def artefact(group: Group) -> Path:
    """Return the path of a group's artefact, existing or not; it contains `bin/` and `files/`."""
    return cache_dir() / "builds" / f"{group.name}-{key(group, go_version())}"


def build(names: Sequence[str]) -> dict[str, Path]:
    """Build the groups that are not in the cache.

    Args:
        names: groups, built in this order.

    Returns:
        The artefact of each group.

    Raises:
        ClusterError: Go is missing or a build failed; the message names the log.
    """
    wanted = {name: artefact(groups()[name]) for name in names}
    missing = [name for name, path in wanted.items() if not path.exists()]
    if not missing:
        return wanted
    # One build at a time per machine: each uses all cores, and they share Go's caches.
    with _lock(cache_dir() / "builds" / "lock"):
        missing = [name for name in missing if not wanted[name].exists()]
        for number, name in enumerate(missing, 1):
            with step(f"building {name} ({number} of {len(missing)})"):
                _build_group(groups()[name], wanted[name])
        # Several GB that only an interrupted build would need again.
        shutil.rmtree(cache_dir() / "go", ignore_errors=True)
    return wanted


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running on this machine, waiting for it ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build_group(group: Group, target: Path) -> None:
    unfinished = target.with_name(f".{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "bin").mkdir(parents=True)
    linker = ["-s", "-w", *(f"-X {name}={value}" for name, value in group.stamp.items())]
    log = target.with_suffix(".log")
    with log.open("w") as output:
        flags = ["-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", " ".join(linker)]
        # One command per group, so that compiling one program overlaps linking another.
        programs = group.binaries.values()
        if programs:
            _go(group, ["build", *flags, "-o", f"{unfinished}/bin/", *programs], output)
        for name, package in group.binaries.items():
            _rename(unfinished / "bin", package, name)
        for module, patterns in group.files.items():
            found = json.loads(_go(group, ["mod", "download", "-json", module], output))
            _copy(Path(found["Dir"]), patterns, unfinished / "files")
    unfinished.rename(target)


def _go(group: Group, arguments: Sequence[str], log: Any) -> str:
    store = cache_dir() / "go"
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(store / "build"),
        "GOMODCACHE": str(store / "mod"),
        "GOFLAGS": "-modcacherw",
        "GOWORK": "off",
    }
    result = subprocess.run(
        ["go", *arguments],
        cwd=group.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    if result.returncode != 0:
        log.flush()
        tail = "\n  ".join(Path(log.name).read_text().splitlines()[-6:])
        raise ClusterError(
            f"building {group.name} failed, complete output in {log.name}:\n  {tail}"
        )
    return result.stdout


def _rename(folder: Path, package: str, name: str) -> None:
    """Rename a program, which Go names after the last unversioned element of its package path."""
    last = re.sub(r"/v\d+$", "", package).rsplit("/", 1)[-1]
    if last != name:
        (folder / last).rename(folder / name)


def _copy(source: Path, patterns: Sequence[str], target: Path) -> None:
    for pattern in patterns:
        for path in sorted(source.glob(pattern)):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
