"""The restart policy."""

from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.local.restarts import (
    BUDGET,
    LAST_SECONDS,
    Again,
    Stop,
    decide,
    describe_exit,
)
from deepseek_server.errors import PermanentError, TransientError


@given(failures=st.integers(1, BUDGET), draw=st.floats(0, 1))
def test_backoff_grows_up_to_its_maximum(failures: int, draw: float) -> None:
    found = decide(-9, "", failures, draw)
    assert isinstance(found, Again)
    assert 0.5 * min(2 ** (failures - 1), LAST_SECONDS) <= found.seconds <= LAST_SECONDS


def test_restarts_stop_after_the_budget() -> None:
    found = decide(-9, "", BUDGET + 1, 0)
    assert isinstance(found, Stop)
    assert "6 times in a row" in found.why


def test_permanent_failures_are_not_retried() -> None:
    assert isinstance(decide(PermanentError.exit_code, "there is no model", 1, 0), Stop)
    assert isinstance(decide(2, "", 1, 0), Stop)
    assert isinstance(decide(TransientError.exit_code, "the hub is away", 1, 0), Again)
    taken = "cannot listen on 127.0.0.1 port 7 (Address already in use): choose another"
    assert isinstance(decide(PermanentError.exit_code, taken, 1, 0), Again)


def test_descriptions_of_exits() -> None:
    assert describe_exit(3, False) == "exited with code 3"
    assert describe_exit(-15, True) == "was killed by SIGTERM"
    assert describe_exit(-9, True) == "was killed by SIGKILL, sent by the kernel's OOM killer"
    assert "sent by a user or by the kernel's OOM killer" in describe_exit(-9, False)
    assert describe_exit(-200, False) == "was killed by signal 200"
