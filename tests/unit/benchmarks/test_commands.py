"""The commands: arguments, output and errors."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.server.__main__ import main
from benchmarks.server.report.summary import RATE
from tests.unit.benchmarks.fake import FAKE, alive


def test_a_load_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    fake = " ".join(FAKE)
    flags = [
        "-n",
        "2",
        "--requests",
        "4",
        "--input",
        "lognormal:9",
        "--output",
        "3",
        "--repeats",
        "3",
        "--goal-ttft",
        "60",
    ]
    assert main(["load", fake, *flags, "--ratio-to", fake]) == 0
    results = json.loads(capsys.readouterr().out)
    assert len(results["server"]["repeats"]) == 3
    assert results["other"]["median"]["output_tokens"] == 12
    assert results["ratio"]["output_tokens"] == 1
    rates = [one[RATE] for one in results["server"]["repeats"]]
    assert results["server"]["median"][RATE] == sorted(rates)[1]
    assert results["server"]["median"]["goodput_share"] == 1
    assert results["server"]["median"]["e2e_ms.p50"] > 0


def test_other_loads_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    fake = " ".join(FAKE)
    assert main(["load", fake, "--rate", "200", "--seconds", "0.2", "--output", "2"]) == 0
    opened_load = json.loads(capsys.readouterr().out)["server"]["median"]
    assert opened_load["offered_per_second"] == 200
    assert opened_load["complete"] == opened_load["requests"] > 10
    assert main(["load", fake, "--again", "300"]) == 0
    again = json.loads(capsys.readouterr().out)["server"]["median"]
    assert again["prefix_tokens"] == 300
    assert again["second_to_first"] < 1


def test_failed_measurements_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "http://127.0.0.1:9"]) == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["roofline", "tiny", "--accelerator", "abacus"]) == 1
    assert "write here, or one of" in capsys.readouterr().err
    assert main(["roofline", "nowhere", "--accelerator", "h200"]) == 1
    assert "nowhere/config.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["make-model", "gpt", "x"], "unknown profile 'gpt': write one of tiny"),
        (["suite", "--profile", "7b", "--rows", "n1,m2"], "unknown row m2: write n1"),
        (["load", "http://h", "--input", "x"], "write 512, or lognormal:512"),
        (["load", "http://h", "-n", "0"], "not an integer above 0"),
        (["load", "http://h", "--field", "x"], "not NAME=JSON"),
        (["load", "http://h", "--header", "x"], "not NAME:VALUE"),
    ],
)
def test_usage_errors(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_model_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-model", "tiny", str(tmp_path / "m"), "--layers", "1"]) == 0
    assert json.loads((tmp_path / "m/config.json").read_bytes())["num_hidden_layers"] == 1
    assert "tiny in" in capsys.readouterr().err
    assert main(["roofline", str(tmp_path / "m"), "--accelerator", "h200", "-n", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"]["n4"][RATE] > 0


def test_a_terminated_measurement_stops_its_server(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    note = f"import os, runpy; open({str(pid_file)!r}, 'w').write(str(os.getpid())); "
    run = "import sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = f'{sys.executable} -c "{note}{run}" {FAKE[1]} {{port}}'
    load = [sys.executable, "-m", "benchmarks.server", "load", command, "--rate", "1"]
    process = subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    server = int(pid_file.read_text())
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not alive(server)
    finally:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
