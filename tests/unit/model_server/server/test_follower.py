"""A follower pod without an engine: its messages to its ranks."""

from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from deepseek_server.config import Config, validate
from deepseek_server.engine.ipc import Close, Loading, NetworkReport, Ready, StartFailed
from deepseek_server.errors import GangError, PermanentError, StartError, TransientError
from deepseek_server.server import startup
from deepseek_server.server.lifecycle import Progress
from deepseek_server.server.startup import await_end, follow
from deepseek_server.worker.main import Job

REPORT = NetworkReport("tcp", 1.5)


class Ranks:
    """A pod's ranks, simulated by the test."""

    def __init__(self) -> None:
        self.connection, self.there = Pipe()
        self.ended = False

    def __call__(self, _: Config) -> "Ranks":
        return self

    def failure(self) -> StartError:
        return TransientError("rank 0 on node-a has ended, so rank 1 ends too")

    def why_ended(self) -> str:
        return str(self.failure())

    def finish(self) -> None:
        self.end()

    def end(self) -> None:
        self.ended = True


def config(path: Path) -> Config:
    model = {"id": "it", "source": {"path": str(path)}}
    return validate({"model": model, "tensorParallel": 2, "gang": {"pods": 2}}, "config.json")


def received(there: Connection) -> object:
    assert there.poll(10)
    return there.recv()


def test_a_follower_connects_finds_the_files_and_loads(tiny) -> None:
    ranks, progress, reports = Ranks(), Progress(), []
    for message in (REPORT, Loading("loading it", 5, 10), Ready(4096, 16)):
        ranks.there.send(message)
    follow(config(tiny("llama")), progress, ranks, reports.append)
    assert reports == [REPORT]
    assert progress.bytes == (5, 10)
    job = received(ranks.there)
    assert isinstance(job, Job)
    assert job.checkpoint.directory == tiny("llama")
    assert not ranks.ended


def test_missing_files_are_reported_to_the_other_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "GIVE_UP_SECONDS", 0.05)  # these ranks do not end by themselves
    ranks = Ranks()
    ranks.there.send(REPORT)
    with pytest.raises(PermanentError, match="no does not exist: check the path") as failed:
        follow(config(tmp_path / "no"), Progress(), ranks, lambda _: None)
    assert received(ranks.there) == StartFailed(str(failed.value), 3)
    assert ranks.ended


def test_the_end_of_its_ranks_ends_the_follower(tmp_path: Path) -> None:
    ranks = Ranks()
    ranks.there.send(StartFailed("the network between the pods is too slow", 5))
    with pytest.raises(GangError, match="too slow"):
        follow(config(tmp_path), Progress(), ranks, pytest.fail)
    ranks.there.close()
    with pytest.raises(TransientError, match="so rank 1 ends too"):
        follow(config(tmp_path), Progress(), ranks, pytest.fail)


@pytest.mark.parametrize(
    ("message", "code"),
    [(Close(), None), (StartFailed("rank 1 cannot continue", 4), 4), (None, 4)],
)
def test_end_of_a_follower(message: object, code: int | None) -> None:
    ranks = Ranks()
    if message is not None:
        ranks.there.send(message)
    ranks.there.close()
    failed = await_end(ranks)
    assert (failed and failed.exit_code) == code
    assert ranks.ended
