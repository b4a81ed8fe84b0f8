"""Servers are started, measured, compared and stopped."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import cpu_time, start
from benchmarks.server.accelerators import KNOWN
from benchmarks.server.client.endpoints import opened
from benchmarks.server.client.load import fetch
from benchmarks.server.client.prompts import vocabulary
from benchmarks.server.client.target import Dialect, Target
from benchmarks.server.failures import BenchError
from benchmarks.server.model import profiles
from benchmarks.server.model.make_model import write_model
from benchmarks.server.report import rows, table
from benchmarks.server.serving import Command, running
from benchmarks.server.suite import Suite
from tests.unit.benchmarks.fake import FAKE, alive

BROKEN = (sys.executable, "-c", "raise SystemExit('no GPU {port}')")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64}
    return write_model(profiles.configuration("tiny") | small, tmp_path_factory.mktemp("m"))


async def test_a_server_lives_as_long_as_its_block(tmp_path: Path) -> None:
    import asyncio

    def work() -> tuple[Target, int]:
        with running(Command(FAKE, model="m", dialect=Dialect.OPENAI), tmp_path / "log") as server:
            assert server.target.model == "m"
            assert server.target.dialect is Dialect.OPENAI
            assert server.started < server.ready <= time.monotonic()
            assert asyncio.run(fetch(server.target, "/health/ready"))[0] == 200
            return server.target, server.pid

    target, pid = await asyncio.to_thread(work)
    assert not alive(pid)
    with pytest.raises(OSError, match="Connect"):
        await fetch(target, "/health/ready")
    assert (tmp_path / "log").read_text() == "serving\n"


def test_a_server_that_does_not_start_reports_the_cause(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"exited with status 1 .*no GPU \d+"),
        running(Command(BROKEN), tmp_path / "log"),
    ):
        raise AssertionError("it runs")


def test_endpoints(tmp_path: Path) -> None:
    with opened(" ".join(FAKE), Target("", 0), "/health/ready", tmp_path / "log") as started:
        assert started.model == "fake"
        url = f"http://{started.host}:{started.port}/v1"
        like = Target("", 0, model="mine", extra={"temperature": 0})
        with opened(url, like, "", tmp_path / "none") as found:
            assert (found.port, found.model) == (started.port, "mine")
            assert found.extra == {"temperature": 0}
        assert opened(url, Target("", 0), "", tmp_path).__enter__().model == "fake"
    for text, sentence in ((url, "cannot be reached"), ("serve it", "neither a URL nor")):
        with (
            pytest.raises(BenchError, match=sentence),
            opened(text, Target("", 0), "", tmp_path / "log"),
        ):
            raise AssertionError("it is there")


def test_a_suite_measures_every_row_and_the_baseline(model: Path, tmp_path: Path) -> None:
    reports: list[str] = []
    suite = Suite(
        profile="qwen-7b",
        directory=model,
        rows=["start", "n2", "prefix"],
        command=Command(FAKE, model="m"),
        baseline=Command(FAKE, model="m"),
        against=["n2", "n9"],
        accelerator=KNOWN["h200"],
        logs=tmp_path,
    )
    results = suite.run(lambda so_far: reports.append(json.dumps(so_far)))
    assert list(results["rows"]) == ["start", "n2", "prefix"]
    assert list(results["baseline"]) == ["n2"]
    assert json.loads(reports[0])["rows"].keys() == {"start"}
    assert json.loads(reports[-1]) == json.loads(json.dumps(results))

    started, closed, prefix = results["rows"].values()
    assert started["first_token_seconds"] >= started["ready_seconds"] > 0
    assert closed["complete"] == 2 * rows.FEWEST_ROUNDS
    assert closed["output_tokens"] == 2 * rows.FEWEST_ROUNDS * 128
    assert closed["prompt_tokens"] == 2 * rows.FEWEST_ROUNDS * 512
    assert closed["server"]["seen_total"] == 4
    limit = closed["limit"]["output_tokens_per_second"]
    # Both are rounded as in the report.
    assert closed["share_of_limit"] == pytest.approx(closed[rows.RATE] / limit, abs=1e-3)
    assert prefix["prefix_tokens"] == 2048
    assert prefix["second_to_first"] < 0.8

    lines = {line["row"]: line for line in results["table"]}
    assert lines["start"]["reached"] in ("aim", "floor", "below")
    assert "aim" not in lines["n2"]
    assert lines["n2 to baseline"]["value"] > 0


def test_a_baseline_that_does_not_start_keeps_the_other_results(
    model: Path, tmp_path: Path
) -> None:
    suite = Suite(
        "tiny", model, ["n1"], Command(FAKE), Command(BROKEN), against=["n1"], logs=tmp_path
    )
    results = suite.run()
    assert results["rows"]["n1"]["complete"] == rows.ROUNDS[1]
    assert "no GPU" in results["baseline"]["n1"]["error"]
    assert results["table"][-1]["reached"] == "failed"


def test_a_slice_is_judged_by_its_share_of_a_known_limit() -> None:
    rates: dict[str, Any] = {"n1": {rows.RATE: 9, "share_of_limit": 0.5}, "n32": {rows.RATE: 99}}
    results = {"profile": "v3-slice", "rows": rates, "baseline": {}}
    first, second = table.lines(results)
    assert (first["figure"], first["value"], first["reached"]) == ("share_of_limit", 0.5, "floor")
    assert (second["figure"], second["value"]) == (rows.RATE, 99)
    assert "reached" not in second


def test_a_model_with_unknown_limits_is_measured(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"compress_ratios": [0]}))
    suite = Suite(
        "v4-slice", tmp_path, ["n1"], Command(FAKE), accelerator=KNOWN["h200"], logs=tmp_path
    )
    (line,) = suite.run()["table"]
    assert line["value"] > 0
    assert line["share_of_limit"] is None


def test_the_table() -> None:
    results: dict[str, Any] = {
        "profile": "v2-lite",
        "rows": {
            "n1": {rows.RATE: 200.5, "share_of_limit": 0.25},
            "n64": {"error": "x"},
            "prefix": {"second_to_first": 0.03},
        },
        "baseline": {"n1": {rows.RATE: 10}},
    }
    assert table.as_text(table.lines(results)).splitlines() == [
        "| row            | figure                   | value | floor | aim  | reached | share_of_limit |",
        "|----------------|--------------------------|-------|-------|------|---------|----------------|",
        "| n1             | output_tokens_per_second | 200.5 | 170   | 300  | floor   | 0.25           |",
        "| n64            | output_tokens_per_second |       | 4000  | 8500 | failed  |                |",
        "| prefix         | second_to_first          | 0.03  | 0.125 | 0.04 | aim     |                |",
        "| n1 to baseline | ratio                    | 20.05 | 5     | 8    | aim     |                |",
    ]


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (rows.Goal("x", 4, 8), 3.9, "below"),
        (rows.Goal("x", 4, 8), 4, "floor"),
        (rows.Goal("x", 4, 8), 8, "aim"),
        (rows.Goal("x", 4, 2, "lower"), 4.1, "below"),
        (rows.Goal("x", 4, 2, "lower"), 4, "floor"),
        (rows.Goal("x", 4, 2, "lower"), 1, "aim"),
    ],
)
def test_verdicts(goal: rows.Goal, value: float, verdict: str) -> None:
    assert goal.verdict(value) == verdict


def test_rows_by_name() -> None:
    assert rows.at_once("n256") == 256
    assert [rows.known(row) for row in ("n1", "mixed", "prefix", "start")] == [True] * 4
    assert [rows.known(row) for row in ("n", "n0", "nine", "x1", "")] == [False] * 5


def test_prompts_contain_no_special_tokens() -> None:
    assert vocabulary(profiles.configuration("qwen-7b")) == 151643
    assert vocabulary({"vocab_size": 900, "bos_token_id": 0, "eos_token_id": [1, 700]}) == 700
    assert vocabulary({"vocab_size": 900, "eos_token_id": None}) == 900


def test_files_are_read_completely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PIECE", 1000)
    for name in ("b.safetensors", "a.safetensors", "c.json"):
        (tmp_path / name).write_bytes(b"x" * 2500)
    files = start.weights(tmp_path)
    assert [file.name for file in files] == ["a.safetensors", "b.safetensors"]
    start.forget(files)
    pieces: list[int] = []
    assert start.read(files, pieces.append) > 0
    assert pieces == [1000, 1000, 500] * 2


def test_cpu_time_of_a_process_and_its_children() -> None:
    spin = "import time\nwhile time.process_time() < 0.2: pass\nprint(1, flush=True); input()"
    parent = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "child.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        # The kernel counts in hundredths of a second and rounds each of the two down.
        assert 0.15 <= cpu_time.of_tree(process.pid) < 10
        process.communicate(b"\n")
    assert cpu_time.of_tree(process.pid) == 0
