import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


@pytest.fixture(scope="session")
def start_ranks() -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    """Start a program of this directory as several ranks, with what torchrun gives each."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, size: int, *arguments: object) -> list[subprocess.Popen[str]]:
        command = [
            sys.executable,
            "-m",
            f"{__package__ or 'tests.unit.model_server.parallel'}.{program}",
        ]
        common = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
        }
        ranks = [
            subprocess.Popen(
                [*command, *map(str, arguments)],
                env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[4],
            )
            for rank in range(size)
        ]
        started.extend(ranks)
        return ranks

    yield start
    for process in started:
        process.kill()
        process.wait()
