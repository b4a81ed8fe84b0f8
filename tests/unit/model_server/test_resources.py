from pathlib import Path

import pytest

from deepseek_server import resources

GIB = 1024**3


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight free GiB and four cores; this process has taken one GiB."""
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "PROC", tmp_path / "proc")
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    write(tmp_path / "proc/meminfo", f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    write(tmp_path / "proc/self/status", f"Name: python\nVmRSS:\t{GIB // 1024} kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_the_numbers_of_the_machine_apply(machine: Path) -> None:
    assert (resources.memory_available(), resources.cpus()) == (8 * GIB, 4)


def test_limits_of_version_2(machine: Path) -> None:
    write(machine / "memory.max", f"{4 * GIB}\n")
    write(machine / "cpu.max", "150000 100000\n")
    assert (resources.memory_available(), resources.cpus()) == (3 * GIB, 2)


def test_version_2_without_limits(machine: Path) -> None:
    write(machine / "memory.max", "max\n")
    write(machine / "cpu.max", "max 100000\n")
    assert (resources.memory_available(), resources.cpus()) == (8 * GIB, 4)


def test_limits_of_version_1(machine: Path) -> None:
    write(machine / "memory/memory.limit_in_bytes", f"{2 * GIB}\n")
    write(machine / "cpu/cpu.cfs_quota_us", "50000\n")
    write(machine / "cpu/cpu.cfs_period_us", "100000\n")
    assert (resources.memory_available(), resources.cpus()) == (GIB, 1)


def test_version_1_without_limits(machine: Path) -> None:
    write(machine / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(machine / "cpu/cpu.cfs_quota_us", "-1\n")
    assert (resources.memory_available(), resources.cpus()) == (8 * GIB, 4)
