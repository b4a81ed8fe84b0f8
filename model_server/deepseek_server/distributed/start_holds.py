"""Groups of pods that shall not run at the moment, as a file says that changes while pods run.

    {"groups": {"0": {"until": "2026-01-01T00:00:00Z", "why": "..."}}}

A group that is named waits until the time is over, or, where that is null, until it is no longer
named. No file holds nobody.
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
    """Why a group waits, and how long; `until` None is until further notice."""

    until: AwareDatetime | None
    why: str


class Holds(Section):
    """The whole file; groups by their number."""

    groups: dict[str, Hold] = Field(default_factory=dict)


def held(content: str, group: str, now: datetime) -> str:
    """Why a group waits, as a sentence; empty where it may run.

    Args:
        content: of the file.
        group: its number.
        now: the time, with its zone.

    Raises:
        ValueError: the file is not as it should be; says how.
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
    told: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    rest: Callable[[float], None] = time.sleep,
) -> None:
    """Return when a group may run; looks again every two seconds.

    A file that is wrong holds nobody: it says nothing of this group.

    Args:
        file: says which groups wait.
        group: the number of this one.
        told: is told why it waits, whenever that was looked up.
        now: the time, with its zone.
        rest: waits for so many seconds.
    """
    while why := _why(file, group, now()):
        told(why)
        rest(LOOK_SECONDS)


def _why(file: Path, group: str, now: datetime) -> str:
    try:
        return held(file.read_text(), group, now)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        log.error("the file of holds, %s, is wrong and holds nobody: %s", file, error)
        return ""
