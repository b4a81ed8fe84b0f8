"""Start holds: a held group waits, with a reason, until its release."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.distributed.start_holds import LOOK_SECONDS, await_release, held

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def file(until: str | None, group: str = "0") -> str:
    return json.dumps({"groups": {group: {"until": until, "why": "node-b has a broken GPU"}}})


def test_until_a_time() -> None:
    assert held(file("2026-01-01T12:00:01Z"), "0", NOW) == (
        "group 0 is held until 2026-01-01T12:00:01Z: node-b has a broken GPU"
    )
    assert held(file("2026-01-01T12:00:00Z"), "0", NOW) == ""


def test_until_further_notice() -> None:
    assert held(file(None), "0", NOW) == (
        "group 0 is held until further notice: node-b has a broken GPU"
    )


def test_others_are_not_held() -> None:
    assert held(file(None, group="1"), "0", NOW) == ""
    assert held("{}", "0", NOW) == ""


@given(st.timedeltas(timedelta(-1000), timedelta(1000)))
def test_a_hold_ends_at_its_time(left: timedelta) -> None:
    assert bool(held(file((NOW + left).isoformat()), "0", NOW)) == (left > timedelta())


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"groups": []}', file("tomorrow"), file("2026-01-01T12:00:00"), '{"group": {}}'],
)
def test_an_invalid_file_is_ignored(content: str, tmp_path: Path, caplog) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any words
        held(content, "0", NOW)
    path = tmp_path / "holds.json"
    path.write_text(content)
    await_release(path, "0", pytest.fail, sleep=pytest.fail)
    assert f"ignoring invalid start-hold file {path}: " in caplog.text


def test_a_missing_file_holds_no_group(tmp_path: Path) -> None:
    await_release(tmp_path / "none", "0", pytest.fail, sleep=pytest.fail)


def test_the_file_is_read_again(tmp_path: Path) -> None:
    path, messages, steps = (
        tmp_path / "holds.json",
        [],
        iter((file(None), file("2026-01-01T13:00Z"))),
    )
    path.write_text(file(None))

    def rest(seconds: float) -> None:
        assert seconds == LOOK_SECONDS
        content = next(steps, None)
        path.write_text(content) if content else path.unlink()

    await_release(path, "0", messages.append, lambda: NOW, rest)
    assert [sentence.split(":")[0] for sentence in messages] == [
        "group 0 is held until further notice",
        "group 0 is held until further notice",
        "group 0 is held until 2026-01-01T13",
    ]
