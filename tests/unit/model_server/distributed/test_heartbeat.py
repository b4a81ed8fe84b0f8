"""Ranks of several pods, without a model: when one ends, the others name it."""

import json
import signal
import time
from pathlib import Path
from subprocess import Popen

SILENCE = 2.5


def end(rank: "Popen[str]", seconds: float = 30) -> tuple[int, list[str]]:
    """Return the exit code of a rank and the errors in its log."""
    _, log = rank.communicate(timeout=seconds)
    assert "Traceback" not in log
    return rank.returncode, [line for line in log.splitlines() if line.startswith("ERROR")]


def begun(ranks: "list[Popen[str]]") -> None:
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "together\n"


def test_the_first_rank_hangs(start_gang) -> None:
    ranks = start_gang("meeting", 2, "--then", "wait", silenceSeconds=SILENCE)
    begun(ranks)
    ranks[0].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    what = "rank 0 on node-a has sent no heartbeat for 2.5 s, so rank 1 ends too"
    assert end(ranks[1]) == (5, [f"ERROR {what}"])
    assert time.monotonic() - began < SILENCE + 20


def test_a_failing_rank_reports_its_error(start_gang, tmp_path: Path) -> None:
    ranks = start_gang("meeting", 3, "--then", "fail")
    assert end(ranks[1])[0] == 3
    for number in (0, 2):
        what = f"rank 1 on node-b has failed, so rank {number} ends too: the disk is broken"
        assert end(ranks[number]) == (4, [f"ERROR {what}"])
        cause = json.loads((tmp_path / f"cause-{number}.json").read_text())
        assert cause == {"rank": number, "exit_code": 4, "sentence": what, "lost": 1}


def test_a_common_failure_is_reported_by_each_rank(start_gang) -> None:
    ranks = start_gang("meeting", 2, "--then", "fail-all")
    assert [end(rank)[0] for rank in ranks] == [3, 3]


def test_a_rank_in_a_long_computation_is_not_lost(start_gang) -> None:
    ranks = start_gang("meeting", 2, "--then", "compute", silenceSeconds=1.5)
    assert [end(rank) for rank in ranks] == [(0, []), (0, [])]


def test_ranks_that_do_not_connect_are_named(start_gang) -> None:
    ranks = start_gang("meeting", 2, meetSeconds=4)
    ranks[1].kill()
    code, errors = end(ranks[0])
    assert code == 5
    assert "rank 1 on node-b did not connect to the ranks of the model at" in errors[0]
    assert "within 4 s" in errors[0]
