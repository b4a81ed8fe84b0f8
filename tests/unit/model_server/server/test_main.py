"""The server process from start to SIGTERM."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deepseek_server.config import Listen
from deepseek_server.server import main as process
from tests.support.lifeline import end_with_parent
from tests.support.model_server.serving import directory_config
from tests.support.server_process import address

BODY = {"model": "llama", "prompt": "a", "ignore_eos": True, "stream": True}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def running(tiny, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "deepseek_server", "--model", str(tiny("llama"))]
    with log.open("wb") as stderr:
        started = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"],
            stderr=stderr,
            preexec_fn=end_with_parent,
        )
    yield started
    started.kill()
    started.wait()


def test_from_start_to_a_drain_that_finishes_the_stream(running, log: Path) -> None:
    with httpx.Client(base_url=address(log), timeout=30) as client:
        first = client.get("/health/ready")
        assert (first.status_code, first.json()["status"]) == (503, "loading")
        assert client.get("/health/live").status_code == 200
        while (ready := client.get("/health/ready")).status_code != 200:
            assert ready.json()["status"] == "loading"
            assert running.poll() is None, log.read_text()
            time.sleep(0.05)

        with client.stream("POST", "/v1/completions", json={**BODY, "max_tokens": 150}) as stream:
            lines = stream.iter_lines()
            next(lines)
            running.send_signal(signal.SIGTERM)
            while (ready := client.get("/health/ready")).status_code == 200:
                time.sleep(0.01)
            assert ready.json()["status"] == "draining"
            assert ready.headers["connection"] == "close"
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in rest[-2]
    assert running.wait(10) == 0
    assert "ready: llama, context 4096 tokens" in log.read_text()
    assert "Traceback" not in log.read_text()


class Client(threading.Thread):
    """A client with a stream that is far from complete when the server gets SIGTERM."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        super().__init__(daemon=True)
        self._caplog = caplog
        self.text = ""

    def run(self) -> None:
        with httpx.Client(base_url=self._address(), timeout=30) as client:
            while client.get("/health/ready").status_code != 200:
                time.sleep(0.02)
            body = {**BODY, "max_tokens": 4000}
            with client.stream("POST", "/v1/completions", json=body) as stream:
                for chunk in stream.iter_text():
                    if not self.text:
                        os.kill(os.getpid(), signal.SIGTERM)
                    self.text += chunk

    def _address(self) -> str:
        while True:
            if found := re.search(r"listening on (http://\S+)", self._caplog.text):
                return found[1]
            time.sleep(0.02)


def test_a_stream_that_outlives_the_drain_ends_with_an_error_in_it(
    tiny, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = directory_config(tiny("llama")).model_copy(update={"drain_seconds": 0.1})
    client = Client(caplog)
    client.start()
    assert process.serve(config) == 0
    client.join(10)
    last = client.text.strip().split("\n\n")[-1]
    assert '"message":"the server is shutting down"' in last
    assert '"code":"generation_failed"' in last


def test_sigterm_while_loading(running, log: Path) -> None:
    address(log)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0


def test_a_usage_error() -> None:
    ended = subprocess.run([sys.executable, "-m", "deepseek_server"], capture_output=True)
    assert ended.returncode == 2


def started_with(tmp_path: Path, **fields: object) -> subprocess.CompletedProcess[str]:
    """A server that fails to start, with its termination message in `tmp_path / "message"`."""
    config = tmp_path / "config.json"
    listen = {"host": "127.0.0.1", "port": 0}
    config.write_text(json.dumps({"model": {"id": "a/b"}, "listen": listen, **fields}))
    return subprocess.run(
        [sys.executable, "-m", "deepseek_server", "--config", str(config)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "LOG_FORMAT": "json",
            "TERMINATION_LOG": str(tmp_path / "message"),
        },
        timeout=60,
    )


def test_an_invalid_keys_file_ends_the_start_with_a_message(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('[{"name": "a"}]')
    ended = started_with(tmp_path, apiKeysFile=str(keys))
    assert ended.returncode == 3
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert line["level"] == "ERROR"
    assert f"the API keys file {keys} must be a list" in line["message"]
    assert "0.sha256 is missing" in line["message"]
    assert (tmp_path / "message").read_text() == line["message"]


def test_no_chunk_waits_for_a_tcp_acknowledgement() -> None:
    """Without TCP_NODELAY each answer on a kept-alive connection takes 40 or 80 ms longer."""
    with (
        process._open(Listen(host="127.0.0.1", port=0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
