"""Checks of a machine."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.cli.doctor import machine_look
from deepseek_operator.cli.doctor.finding import Finding
from deepseek_operator.cli.doctor.machine import CHECKS, GIB, Gpu, Host
from tests.unit.operator.cli.command import deepseek

H200 = Gpu("NVIDIA H200", 143_771, 1)
WELL = Host(
    python=(3, 12),
    gpus=(H200,),
    driver="580.95.05",
    driver_problem="",
    hardware=True,
    disk=10**12,
    cache="/cache",
    memory=100 * GIB,
    installed=128 * GIB,
    packages={"torch": "2.11.0", "transformers": "5.20.0"},
    server="0.1.0",
    cuda="13.0",
    engines={"docker": None},
)


def all_of(machine: Host) -> list[Finding]:
    return list(chain.from_iterable(check(machine) for check in CHECKS))


def test_a_healthy_machine_has_only_ok_findings() -> None:
    assert {found.state for found in all_of(WELL)} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "check", "state", "words"),
    [
        ({"driver": "", "gpus": ()}, "GPU driver", "problem", "no driver"),
        ({"driver": "", "gpus": (), "hardware": False}, "GPU driver", "warning", "No GPU"),
        ({"driver": "550.1"}, "GPU driver", "problem", "needs 580"),
        ({"driver_problem": "mismatch"}, "GPU driver", "problem", "mismatch"),
        ({"gpus": (replace(H200, used=140_000),)}, "GPU 0", "warning", "3.7 of 140.4 GiB free"),
        ({"disk": 10**9}, "disk", "problem", "1 GB are free at /cache"),
        ({"memory": GIB, "gpus": ()}, "memory", "warning", "1.0 of 128.0 GiB"),
        ({"python": (3, 10)}, "Python", "problem", "3.10"),
        ({"python": (3, 14)}, "Python", "problem", "3.14"),
        ({"packages": {"torch": "2.11.0"}}, "model server", "problem", "transformers can't"),
        ({"server": ""}, "model server", "problem", "deepseek_server can't"),
        ({"cuda": ""}, "model server", "problem", "built for CPUs"),
        ({"engines": {"docker": "no daemon"}}, "container engine", "warning", "no daemon"),
    ],
)
def test_a_fault_is_reported_with_a_fix(
    changes: dict[str, Any], check: str, state: str, words: str
) -> None:
    found = next(row for row in all_of(replace(WELL, **changes)) if row.check == check)
    assert (found.state, words in found.message, bool(found.fix)) == (state, True, True)


def test_the_output_of_nvidia_smi_is_parsed() -> None:
    # The second line is a reading of 2026-11-29.
    table = "NVIDIA H200, 143771, 4, 580.159.04\nNVIDIA H200, 143771, 0, 580.159.04\n"
    gpus, driver = machine_look.parse(table)
    assert (driver, gpus) == ("580.159.04", (replace(H200, used=4), replace(H200, used=0)))
    assert machine_look.parse("") == ((), "")


def test_a_driver_failure_is_reported_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Driver/library version mismatch' >&2\nexit 18\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = deepseek("doctor", "--machine", "-o", "json")
    rows = {row["check"]: row for row in json.loads(result.out)["checks"]}
    assert result.code == 1
    assert rows["GPU driver"]["message"] == "nvidia-smi fails: Driver/library version mismatch"


def test_doctor_checks_this_machine() -> None:
    result = deepseek("doctor", "--machine", "-o", "yaml")
    assert result.code in (0, 1)
    assert "check: Python" in result.out


def test_machine_and_context_are_exclusive() -> None:
    assert deepseek("doctor", "--machine", "--context", "x").code == 2
