"""Start of a server for a measurement: wait until it is ready, and stop it afterwards."""

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server.client.http import ProtocolError
from benchmarks.server.client.load import fetch
from benchmarks.server.client.target import Dialect, Target
from benchmarks.server.failures import BenchError

READY_SECONDS = 600.0
POLL_SECONDS = 0.05
END_SECONDS = 20.0


@dataclass(frozen=True)
class Command:
    """The command that starts a server.

    Attributes:
        arguments: program and arguments; `{port}` is replaced by a free port.
        dialect: the API dialect of the server.
        model: the `model` field of requests.
        ready: the path that answers with 200 once the server accepts requests.
        environment: variables in addition to those of this process.
    """

    arguments: Sequence[str]
    dialect: Dialect = Dialect.VLLM
    model: str = ""
    ready: str = "/health/ready"
    environment: Mapping[str, str] | None = None


def ours(directory: Path, device: str, more: str = "") -> Command:
    """Return the command of this project's server for a model directory."""
    return Command(
        (
            *(sys.executable, "-m", "deepseek_server", "--model", str(directory)),
            *("--device", device, "--host", "127.0.0.1", "--port", "{port}"),
            *shlex.split(more),
        ),
        model=directory.absolute().name,
    )


def transformers_serve(directory: Path, device: str, more: str = "") -> Command:
    """Return the command of `transformers serve` for a model directory, with batching."""
    # On a CPU its cache uses most of the machine's memory unless a size is set.
    cache = ("--cb-block-size", "32", "--cb-num-blocks", "1024", "--cb-max-batch-tokens", "512")
    return Command(
        (
            *(sys.executable, "-c", "from transformers.cli.transformers import app; app()"),
            *("serve", str(directory), "--continuous-batching", "--device", device),
            *("--host", "127.0.0.1", "--port", "{port}"),
            *(cache if device == "cpu" else ()),
            *shlex.split(more),
        ),
        dialect=Dialect.TRANSFORMERS,
        model=str(directory),
        ready="/health",
        environment={"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )


@dataclass(frozen=True)
class Running:
    """A running server that accepts requests.

    Attributes:
        target: the server's address and dialect.
        pid: process id of its first process.
        started: time of its start, by time.monotonic().
        ready: time when it accepted requests, by time.monotonic().
    """

    target: Target
    pid: int
    started: float
    ready: float


@contextmanager
def running(command: Command, log: Path) -> Iterator[Running]:
    """Run a server during the block.

    Args:
        command: the command that starts it.
        log: the file for its output.

    Raises:
        BenchError: the server does not start; contains its last output.
    """
    target = Target("127.0.0.1", _free_port(), model=command.model, dialect=command.dialect)
    arguments = [part.replace("{port}", str(target.port)) for part in command.arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(command.environment or {})},
            start_new_session=True,  # so that its child processes can be killed with it
        )
    try:
        asyncio.run(_wait_until_ready(process, target, command.ready, log))
        yield Running(target, process.pid, started, time.monotonic())
    finally:
        _end(process)


async def _wait_until_ready(
    process: subprocess.Popen[bytes], target: Target, page: str, log: Path
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(
                f"the server exited with status {process.returncode} before it was ready; "
                f"last lines of {log}: {_tail(log)}"
            )
        with suppress(OSError, ProtocolError):
            if (await fetch(target, page))[0] == 200:
                return
        await asyncio.sleep(POLL_SECONDS)
    raise BenchError(
        f"the server was not ready within {READY_SECONDS:.0f} s; last lines of {log}: {_tail(log)}"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


def _tail(log: Path) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    return "\n".join(text.splitlines()[-15:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the server, then kill its process group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
