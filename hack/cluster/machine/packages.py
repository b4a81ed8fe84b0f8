"""Installation of missing Debian packages of a part, without starting their services."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.faults import ClusterError
from hack.cluster.progress import step

# A package's install script asks this program whether it may start its service.
POLICY = Path("/usr/sbin/policy-rc.d")


def table() -> dict[str, dict[str, Any]]:
    """Return the content of packages.yaml."""
    data: dict[str, dict[str, Any]] = yaml.safe_load(
        (Path(__file__).parent / "packages.yaml").read_text()
    )
    return data


def missing(packages: Mapping[str, Mapping[str, Any]], parts: Iterable[str]) -> list[str]:
    """Return the packages of these parts whose programs are missing on this machine."""
    wanted = set(parts)
    return [
        name
        for name, entry in packages.items()
        if wanted.intersection(entry["parts"]) and not all(map(_present, entry["provides"]))
    ]


def ensure(parts: Iterable[str]) -> None:
    """Install the missing packages of these parts.

    Args:
        parts: names in parts.PARTS, or `images` for building container images.

    Raises:
        ClusterError: not root, no apt-get, or apt-get failed.
    """
    names = missing(table(), parts)
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing on this machine: {', '.join(names)} (names of Debian's packages); "
            "there is no apt-get here, so install them with this system's own package manager"
        )
    if os.geteuid() != 0:
        raise ClusterError(f"run as root, or install first: apt-get install {' '.join(names)}")
    with step(f"installing {', '.join(names)}"), _no_services():
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *names)


def _present(provided: str) -> bool:
    if provided.startswith("/"):
        return Path(provided).exists()
    return shutil.which(provided) is not None


@contextmanager
def _no_services() -> Iterator[None]:
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def _apt(*arguments: str) -> None:
    result = subprocess.run(
        # Another installation may be running, of an image or of the machine itself.
        ["apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=600", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        tail = "\n  ".join((result.stdout + result.stderr).splitlines()[-6:])
        raise ClusterError(f"apt-get {arguments[0]} failed:\n  {tail}")
