"""Start holds: a file that lists groups of pods that must not start, and may change at any time.

    {"groups": {"0": {"until": "2026-01-01T00:00:00Z", "why": "..."}}}

A listed group waits until the given time, or, if that is null, until it is no longer listed. Without
a file no group waits.
"""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from deepseek_server.config import Section, problems

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


class Hold(Section):
    """The reason and the end of a hold; `until` None is until further notice."""

    until: AwareDatetime | None
    why: str


class Holds(Section):
    """The whole file: holds by group number."""

    groups: dict[str, Hold] = Field(default_factory=dict)


def held(content: str, group: str, now: datetime) -> str:
    """Return why a group is held, as a sentence; empty if it may start.

    Args:
        content: the content of the file.
        group: the number of the group.
        now: the current time, with a time zone.

    Raises:
        ValueError: the file is invalid; the message describes how.
    """
    try:
        hold = Holds.model_validate(json.loads(content)).groups.get(group)
    except ValidationError as error:
        raise ValueError(problems(error)) from error
    if hold is None or (hold.until is not None and hold.until <= now):
        return ""
    end = "until further notice" if hold.until is None else f"until {_written(hold.until)}"
    return f"group {group} is held {end}: {hold.why}"


def _written(when: datetime) -> str:
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def await_release(
    file: Path,
    group: str,
    on_hold: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Block until a group may start; read the file again every two seconds.

    An invalid file holds no group.

    Args:
        file: the file of start holds.
        group: the number of this one.
        on_hold: called with the reason after each read, while the group is held.
        now: returns the current time, with a time zone.
        sleep: sleeps for a number of seconds.
    """
    while reason := _hold_reason(file, group, now()):
        on_hold(reason)
        sleep(LOOK_SECONDS)


def _hold_reason(file: Path, group: str, now: datetime) -> str:
    try:
        return held(file.read_text(), group, now)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        log.error("ignoring invalid start-hold file %s: %s", file, error)
        return ""
