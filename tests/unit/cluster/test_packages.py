"""Detection of missing Debian packages."""

import shutil
from pathlib import Path

import pytest

from hack.cluster.faults import ClusterError
from hack.cluster.machine import packages
from hack.cluster.parts import PARTS

TABLE = {
    "present": {"provides": ["sh"], "parts": ["node"]},
    "absent": {"provides": ["sh", "no-such-program"], "parts": ["node"]},
    "file": {"provides": ["/no/such/file"], "parts": ["images"]},
}


def test_only_absent_packages_of_wanted_parts_are_missing() -> None:
    assert packages.missing(TABLE, ["node"]) == ["absent"]
    assert packages.missing(TABLE, ["images"]) == ["file"]
    assert packages.missing(TABLE, ["api"]) == []


def test_without_apt_the_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "table", lambda: TABLE)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ClusterError, match="missing on this machine: present, absent"):
        packages.ensure(["node"])


def test_every_package_belongs_to_an_existing_part() -> None:
    for entry in packages.table().values():
        assert set(entry["parts"]) <= {*PARTS, "images"}
