"""The benchmark of the operator, in a size in which its figures mean nothing: that it runs at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hack.cluster.target import Target

# Writes for a new resource: it, its children, statuses; a few more than there are.
ONE = 10
SMALL = ("--resources", "4", "--many", "40", "--seconds", "1", "--samples", "2")


def test_every_row_is_measured(api_server: Target) -> None:
    if api_server.kind != "embedded":
        pytest.skip(
            f"it counts the writes in an audit log, which a {api_server.kind} cluster has not"
        )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.operator", *SMALL],
        capture_output=True,
        text=True,
        check=False,
    )
    # 1 says that a floor is missed, which on a busy machine may be.
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    expected = {"apply", "burst", "memory", "restored", "steady", "foreign pods", "start"}
    assert rows.keys() == {*expected, "memory at many"}
    assert rows["foreign pods"]["changes"] > 0
    assert rows["steady"]["writes"] == 0
    # What the bare client has written is what the operator would have: a start changes nothing of it.
    assert rows["start"]["writes"] < 2 * ONE
