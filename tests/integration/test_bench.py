"""A smoke test of the operator's benchmark, at a size at which its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hack.cluster.target import Target

# Upper bound of the writes for a new resource: itself, its children, statuses.
ONE = 10
SMALL = ("--resources", "4", "--many", "40", "--seconds", "1", "--samples", "2")


def test_every_row_is_measured(api_server: Target) -> None:
    if api_server.kind != "embedded":
        pytest.skip(
            f"it counts the writes in an audit log, which a {api_server.kind} cluster lacks"
        )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.operator", *SMALL],
        capture_output=True,
        text=True,
        check=False,
    )
    # Exit code 1 reports a missed floor, which may happen on a busy machine.
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    expected = {"apply", "burst", "memory", "restored", "steady", "foreign pods", "start"}
    assert rows.keys() == {*expected, "memory at many"}
    assert rows["foreign pods"]["changes"] > 0
    assert rows["steady"]["writes"] == 0
    # The bare client writes the same objects as the operator: a start changes none of them.
    assert rows["start"]["writes"] < 2 * ONE
