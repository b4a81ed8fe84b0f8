"""Starts a server, waits until it takes requests, and ends it."""

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
    """How a server is started.

    Attributes:
        arguments: program and arguments; `{port}` stands for a free port.
        dialect: what it understands.
        model: what requests put into `model`.
        ready: the page that is answered with 200 once it takes requests.
        environment: variables over those of this process.
    """

    arguments: Sequence[str]
    dialect: Dialect = Dialect.VLLM
    model: str = ""
    ready: str = "/health/ready"
    environment: Mapping[str, str] | None = None


def ours(directory: Path, device: str, more: str = "") -> Command:
    """This project's server of a directory's model."""
    return Command(
        (
            *(sys.executable, "-m", "deepseek_server", "--model", str(directory)),
            *("--device", device, "--host", "127.0.0.1", "--port", "{port}"),
            *shlex.split(more),
        ),
        model=directory.absolute().name,
    )


def transformers_serve(directory: Path, device: str, more: str = "") -> Command:
    """`transformers serve` of a directory's model, with continuous batching."""
    # On a CPU it takes most of the machine's memory for its cache unless it is told a size.
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
    """A server that takes requests.

    Attributes:
        target: where it is.
        pid: of its first process.
        started: when it was started, on time.monotonic().
        ready: when it took requests, on time.monotonic().
    """

    target: Target
    pid: int
    started: float
    ready: float


@contextmanager
def running(command: Command, log: Path) -> Iterator[Running]:
    """A server, for as long as the block runs.

    Args:
        command: how to start it.
        log: the file that takes what it prints.

    Raises:
        BenchError: it does not start; says what it printed last.
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
            start_new_session=True,  # so that whatever it starts can be ended with it
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
                f"the server ended with status {process.returncode} before it was ready; "
                f"the end of {log}: {_tail(log)}"
            )
        with suppress(OSError, ProtocolError):
            if (await fetch(target, page))[0] == 200:
                return
        await asyncio.sleep(POLL_SECONDS)
    raise BenchError(
        f"the server was not ready within {READY_SECONDS:.0f} s; the end of {log}: {_tail(log)}"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


def _tail(log: Path) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    return "\n".join(text.splitlines()[-15:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and end the whole group where that takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
