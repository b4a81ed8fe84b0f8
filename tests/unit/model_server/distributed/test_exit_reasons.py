from pathlib import Path

from deepseek_server.distributed import exit_reasons
from deepseek_server.distributed.exit_reasons import ExitReason

OWN = ExitReason(3, 3, "the weights need more memory")
FOLLOWED = ExitReason(2, 4, "rank 0 on node-a has ended, so rank 2 ends too", lost=0)
NEIGHBOUR = ExitReason(2, 4, "rank 3 on node-b has ended, so rank 2 ends too", lost=3)
SILENT = ExitReason(
    2, 5, "rank 3 on node-b has sent no heartbeat for 4 s, so rank 2 ends too", lost=3
)


def decided(*found: ExitReason) -> tuple[int, str]:
    error = exit_reasons.decide(found, (2, 3), "node-b")
    return error.exit_code, str(error)


def test_a_ranks_own_failure_takes_precedence() -> None:
    assert decided(FOLLOWED, OWN) == (3, "the weights need more memory")


def test_then_the_loss_of_another_rank() -> None:
    assert decided(FOLLOWED) == (4, FOLLOWED.sentence)
    assert decided(FOLLOWED, ExitReason(3, 4, "rank 0 ... so rank 3", 0)) == (4, FOLLOWED.sentence)


def test_a_rank_without_an_exit_reason_is_named() -> None:
    for found in ((NEIGHBOUR,), ()):
        code, sentence = decided(*found)
        assert code == 4
        assert f"rank {3 if found else 2} on node-b has ended without an error message" in sentence


def test_a_hanging_rank_writes_no_exit_reason() -> None:
    assert decided(SILENT) == (5, SILENT.sentence)


def test_the_first_exit_reason_of_a_rank_stays(tmp_path: Path) -> None:
    for exit_reason in (OWN, FOLLOWED, ExitReason(3, 4, "later", 0)):
        exit_reasons.write(tmp_path, exit_reason)
    (tmp_path / "cause-9.json").write_text("half a li")
    assert exit_reasons.read_all(tmp_path) == [FOLLOWED, OWN]


def test_a_missing_directory_is_ignored(tmp_path: Path) -> None:
    exit_reasons.write(tmp_path / "gone", OWN)
    assert exit_reasons.read_all(tmp_path / "gone") == []
