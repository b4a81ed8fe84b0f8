"""`deepseek local` with real servers of a tiny model: crashes, full machines, shutdown."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deepseek_operator.local import orphans
from deepseek_operator.local.commands import MARK
from hack.models.tiny import make_tiny
from tests.support.local_machine import LocalMachine, Stream, eventually


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    found = LocalMachine(tmp_path, make_tiny("llama", tmp_path / "llama"))
    yield found
    for state in (tmp_path / "state/deepseek/local").glob("*"):
        found.run("down", state.name, "--now")


def test_a_crashed_replica_restarts_while_the_others_serve(machine: LocalMachine) -> None:
    up = machine.run("up", machine.file("two", replicas=2), "--detach", "--port", 0)
    assert up.returncode == 0, up.stderr
    reported = machine.status("two")
    assert (reported["state"], reported["ready"]) == ("Ready", 2)
    assert f"two is ready at {reported['endpoint']}/v1, model name tiny" in up.stdout
    first, second = reported["replicas"]

    port = reported["endpoint"].rpartition(":")[2]
    taken = machine.run("up", machine.file("other"), "--port", port)
    assert taken.returncode == 2
    assert f"Port {port} is in use by two (stop it with deepseek local down two)" in taken.stderr
    again = machine.run("up", machine.file("two"), "--port", 0)
    assert again.returncode == 2
    assert "two is already running" in again.stderr

    streams = [Stream(reported["endpoint"], 1500) for _ in range(4)]
    eventually(lambda: all(stream.begun() for stream in streams), "streams begin")
    os.kill(first["pid"], signal.SIGKILL)
    for _ in range(5):
        _ask(reported["endpoint"])
    for stream in streams:
        stream.join(60)
    errors = [stream.error["code"] for stream in streams if stream.error]
    assert errors == ["replica_ended"] * 2

    # The engine process, killed as the kernel would when it runs out of memory.
    (worker,) = (
        p for p in orphans.processes(reported["run"], 1) if "worker" in " ".join(p.cmdline())
    )
    worker.kill()
    eventually(lambda: machine.view("two")["replicas"][1]["ended"], "the engine's end is seen")
    eventually(lambda: machine.phases("two") == ["ready", "ready"], "both are back")
    first, second = machine.view("two")["replicas"]
    assert first["ended"]["words"].startswith("was killed by SIGKILL")
    assert "SIGKILL, most likely because it ran out of memory" in second["ended"]["why"]
    assert (first["starts"], second["starts"]) == (2, 2)
    _kill_the_supervisor(machine, reported["run"])


def _ask(url: str) -> None:
    """Send a request as clients do: retried if the response asks for it."""
    body = {"model": "tiny", "prompt": "a", "max_tokens": 1}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    if answer.status_code == 503:  # the replica was killed while it had the request
        assert answer.json()["error"]["code"] == "replica_ended"
        assert answer.headers["retry-after"] == "1"
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200


def _kill_the_supervisor(machine: LocalMachine, run: str) -> None:
    """Check that its processes end with it, and that the next command ends any orphans."""
    os.kill(machine.view("two")["pid"], signal.SIGKILL)
    eventually(lambda: not orphans.processes(run), "servers end with their supervisor")
    marked = {**os.environ, MARK: f"{run}/1"}
    with (
        subprocess.Popen(["sleep", "600"], env=marked) as ours,
        subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: "another/1"}) as foreign,
    ):
        status = machine.run("status")
        assert "two   Killed" in status.stdout
        assert "killed 1 process that it left behind." in status.stderr
        assert ours.wait(10) == -signal.SIGKILL
        assert foreign.poll() is None
        foreign.kill()
    down = machine.run("down")
    assert (down.returncode, down.stderr) == (0, "two is stopped and removed.\n")
    assert machine.run("status").stdout == "No resources on this machine.\n"


def test_ctrl_c_drains_running_requests(machine: LocalMachine) -> None:
    up = machine.start("up", machine.file("one"), "--port", 0)
    eventually(
        lambda: machine.view("one").get("replicas", [{}])[0].get("phase") == "ready", "ready"
    )
    url, run = machine.view("one")["endpoint"], machine.view("one")["run"]
    stream = Stream(url, 1000)
    eventually(stream.begun, "the stream begins")
    up.send_signal(signal.SIGINT)
    eventually(lambda: machine.view("one")["askedToEnd"], "it drains")
    refused = httpx.get(f"{url}/v1/models")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
    assert refused.json()["error"]["code"] == "shutting_down"
    stream.join(60)
    assert stream.events[-1] == "[DONE]"
    out, _ = up.communicate(timeout=300)
    assert up.returncode == 0, out
    assert "Draining: " in out
    assert out.endswith("Stopped.\n")
    assert not orphans.processes(run)
    assert "request ended" in machine.run("logs", "one").stdout


def test_a_permanent_error_is_not_retried(machine: LocalMachine) -> None:
    (machine.model / "config.json").write_text('{"model_type": "gpt2"}')
    up = machine.run("up", machine.file("wrong"), "--port", 0)
    assert up.returncode == 5
    assert "gpt2" in up.stderr
    assert "fix the reported cause" in up.stderr
    assert machine.view("wrong")["replicas"][0]["starts"] == 1


def test_too_little_memory_or_a_taken_port_is_refused_before_a_start(
    machine: LocalMachine,
) -> None:
    little = machine.run("up", machine.file("big", replicas=3), "--memory", "3Gi")
    assert little.returncode == 1
    assert "DoesNotFit: tiny does not fit into the memory of this machine" in little.stderr
    assert "What would fit: 1 replica (--replicas 1)" in little.stderr
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        full = machine.run("up", machine.file("full"), "--port", port)
    assert full.returncode == 2
    assert (
        f"Port {port} is in use ({psutil.Process().name()}, process {os.getpid()})" in full.stderr
    )
    assert machine.run("status").stdout == "No resources on this machine.\n"
