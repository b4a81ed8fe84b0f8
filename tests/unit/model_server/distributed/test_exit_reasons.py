from pathlib import Path

from deepseek_server.distributed import exit_reasons as causes
from deepseek_server.distributed.exit_reasons import Cause

OWN = Cause(3, 3, "the weights need more memory")
FOLLOWED = Cause(2, 4, "rank 0 on node-a has ended, so rank 2 ends too", lost=0)
NEIGHBOUR = Cause(2, 4, "rank 3 on node-b has ended, so rank 2 ends too", lost=3)
SILENT = Cause(2, 5, "rank 3 on node-b has sent no heartbeat for 4 s, so rank 2 ends too", lost=3)


def decided(*found: Cause) -> tuple[int, str]:
    error = causes.decide(found, (2, 3), "node-b")
    return error.exit_code, str(error)


def test_a_ranks_own_failure_takes_precedence() -> None:
    assert decided(FOLLOWED, OWN) == (3, "the weights need more memory")


def test_then_the_loss_of_another_rank() -> None:
    assert decided(FOLLOWED) == (4, FOLLOWED.sentence)
    assert decided(FOLLOWED, Cause(3, 4, "rank 0 ... so rank 3", 0)) == (4, FOLLOWED.sentence)


def test_a_rank_without_a_cause_is_named() -> None:
    for found in ((NEIGHBOUR,), ()):
        code, sentence = decided(*found)
        assert code == 4
        assert f"rank {3 if found else 2} on node-b has ended without an error message" in sentence


def test_a_hanging_rank_writes_no_cause() -> None:
    assert decided(SILENT) == (5, SILENT.sentence)


def test_the_first_cause_of_a_rank_stays(tmp_path: Path) -> None:
    for cause in (OWN, FOLLOWED, Cause(3, 4, "later", 0)):
        causes.leave(tmp_path, cause)
    (tmp_path / "cause-9.json").write_text("half a li")
    assert causes.found(tmp_path) == [FOLLOWED, OWN]


def test_a_missing_directory_is_ignored(tmp_path: Path) -> None:
    causes.leave(tmp_path / "gone", OWN)
    assert causes.found(tmp_path / "gone") == []
