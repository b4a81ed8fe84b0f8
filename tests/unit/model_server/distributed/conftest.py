import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepseek_server.config import Gang
from deepseek_server.distributed.rank_info import GangInfo
from tests.support.lifeline import end_with_parent
from tests.support.repository import ROOT


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


@pytest.fixture(scope="session")
def start_ranks() -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    """Start a program of this directory as several ranks, with torchrun's environment."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, size: int, *arguments: object) -> list[subprocess.Popen[str]]:
        command = [
            sys.executable,
            "-m",
            f"{__package__ or 'tests.unit.model_server.distributed'}.{program}",
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
                cwd=ROOT,
                preexec_fn=end_with_parent,
            )
            for rank in range(size)
        ]
        started.extend(ranks)
        return ranks

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def start_gang(start_ranks, tmp_path: Path) -> Callable[..., list[subprocess.Popen[str]]]:
    """Start a program as several ranks, each on its own host; fields configure the gang."""

    def start(program: str, size: int, *arguments: object, **fields: object):
        gang = Gang.model_validate({"pods": size, "meetSeconds": 60, **fields})
        gang_info = GangInfo(gang, tuple(f"node-{letter}" for letter in "abcd"[:size]), tmp_path)
        file = tmp_path / "gang_info.json"
        file.write_text(gang_info.write())
        return start_ranks(program, size, file, *arguments)

    return start
