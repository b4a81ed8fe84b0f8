"""`deepseek local` with real servers of a tiny model: what dies, what is full, what is asked to end."""

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

from deepseek_operator.local import leftovers
from deepseek_operator.local.commands import MARK
from tests.integration.local_machine import LocalMachine, Stream, eventually
from tests.models.tiny import make_tiny


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LocalMachine]:
    found = LocalMachine(tmp_path, make_tiny("llama", tmp_path / "llama"))
    yield found
    for state in (tmp_path / "state/deepseek/local").glob("*"):
        found.run("down", state.name, "--now")


def test_what_dies_comes_back_while_the_others_serve(machine: LocalMachine) -> None:
    up = machine.run("up", machine.file("two", replicas=2), "--detach", "--port", 0)
    assert up.returncode == 0, up.stderr
    said = machine.status("two")
    assert (said["state"], said["ready"]) == ("Ready", 2)
    assert f"two answers at {said['endpoint']}/v1 as tiny" in up.stdout
    first, second = said["replicas"]

    port = said["endpoint"].rpartition(":")[2]
    taken = machine.run("up", machine.file("other"), "--port", port)
    assert taken.returncode == 2
    assert f"Port {port} is taken by two (deepseek local down two ends it)" in taken.stderr
    again = machine.run("up", machine.file("two"), "--port", 0)
    assert again.returncode == 2
    assert "two is up already" in again.stderr

    streams = [Stream(said["endpoint"], 1500) for _ in range(4)]
    eventually(lambda: all(stream.begun() for stream in streams), "streams begin")
    os.kill(first["pid"], signal.SIGKILL)
    for _ in range(5):
        _ask(said["endpoint"])
    for stream in streams:
        stream.join(60)
    errors = [stream.error["code"] for stream in streams if stream.error]
    assert errors == ["replica_ended"] * 2

    # The engine process, killed as the kernel would when it runs out of memory.
    (worker,) = (
        p for p in leftovers.processes(said["run"], 1) if "worker" in " ".join(p.cmdline())
    )
    worker.kill()
    eventually(lambda: machine.view("two")["replicas"][1]["ended"], "the engine's end is seen")
    eventually(lambda: machine.phases("two") == ["ready", "ready"], "both are back")
    first, second = machine.view("two")["replicas"]
    assert first["ended"]["words"].startswith("was ended by SIGKILL")
    assert "SIGKILL, most likely because it ran out of memory" in second["ended"]["why"]
    assert (first["starts"], second["starts"]) == (2, 2)
    _kill_the_supervisor(machine, said["run"])


def _ask(url: str) -> None:
    """A request as clients send it: again, where the answer says that this would help."""
    body = {"model": "tiny", "prompt": "a", "max_tokens": 1}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    if answer.status_code == 503:  # the replica had it in the moment in which it was killed
        assert answer.json()["error"]["code"] == "replica_ended"
        assert answer.headers["retry-after"] == "1"
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200


def _kill_the_supervisor(machine: LocalMachine, run: str) -> None:
    """Nothing stays that it has started; what the kernel could not end the next command does."""
    os.kill(machine.view("two")["pid"], signal.SIGKILL)
    eventually(lambda: not leftovers.processes(run), "servers end with their supervisor")
    marked = {**os.environ, MARK: f"{run}/1"}
    with (
        subprocess.Popen(["sleep", "600"], env=marked) as ours,
        subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: "another/1"}) as foreign,
    ):
        status = machine.run("status")
        assert "two   Killed" in status.stdout
        assert "It had left 1 process, now ended." in status.stderr
        assert ours.wait(10) == -signal.SIGKILL
        assert foreign.poll() is None
        foreign.kill()
    down = machine.run("down")
    assert (down.returncode, down.stderr) == (0, "two is down.\n")
    assert machine.run("status").stdout == "Nothing is up.\n"


def test_ctrl_c_lets_what_runs_end(machine: LocalMachine) -> None:
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
    assert "Ending: " in out
    assert out.endswith("Ended.\n")
    assert not leftovers.processes(run)
    assert "request ended" in machine.run("logs", "one").stdout


def test_a_mistake_is_not_tried_again(machine: LocalMachine) -> None:
    (machine.model / "config.json").write_text('{"model_type": "gpt2"}')
    up = machine.run("up", machine.file("wrong"), "--port", 0)
    assert up.returncode == 5
    assert "gpt2" in up.stderr
    assert "mend what it says" in up.stderr
    assert machine.view("wrong")["replicas"][0]["starts"] == 1


def test_what_has_no_room_is_refused_before_anything_starts(machine: LocalMachine) -> None:
    little = machine.run("up", machine.file("big", replicas=3), "--memory", "3Gi")
    assert little.returncode == 1
    assert "DoesNotFit: tiny does not fit into the memory of this machine" in little.stderr
    assert "What would fit: 1 replica (--replicas 1)" in little.stderr
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        full = machine.run("up", machine.file("full"), "--port", port)
    assert full.returncode == 2
    assert f"Port {port} is taken ({psutil.Process().name()}, process {os.getpid()})" in full.stderr
    assert machine.run("status").stdout == "Nothing is up.\n"
