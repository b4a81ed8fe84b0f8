"""Replicas of several pods that fail: the first cause, and how long their pods pause.

When one process of a replica ends the others end too, and LeaderWorkerSet makes all pods anew, again
and again. What is told here of each replica is why it failed first, kept when the pods are gone; and
the pause before its pods start again, which they read from a file beside their config file
(`holds`), because nothing else can keep pods from starting that something else makes.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from deepseek_operator.api.status import GroupFailure, GroupStatus
from deepseek_operator.plan.state.observed import PodView

# How the last words of a process end that ends because another one did (the server's lifeline).
CONSEQUENCE = " ends too"
# Failures that count.
WINDOW = timedelta(hours=1)
# The pause after the second failure; it doubles with each further one.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=5)
# Characters of a process's last words that are kept.
WORDS = 1000
PREFLIGHT_FAILED = "PreflightFailed"
NETWORK_TOO_SLOW = "NetworkTooSlow"
MET = "Met"
# The exit code of a server whose pods did not meet, or not well enough.
EXIT_GANG = 5


def groups(
    before: Iterable[GroupStatus],
    failed: Iterable[PodView],
    generation: int,
    size: int,
    max_restarts: int,
) -> list[GroupStatus]:
    """What is known of every replica that has failed.

    Args:
        before: What was known.
        failed: Pods whose server has ended.
        generation: Of the spec; what failed before it changed is forgotten.
        size: How many replicas there are.
        max_restarts: Failures within an hour that are followed by another start.
    """
    known = {item.index: item for item in before if item.generation == generation}
    for pod in sorted((pod for pod in failed if pod.ended), key=_ended):
        if pod.group is not None:
            last = known.get(pod.group)
            known[pod.group] = _with(last, pod, generation, max_restarts)
    return [known[index] for index in sorted(known) if index < size]


def _ended(pod: PodView) -> datetime:
    return pod.ended or datetime.max.replace(tzinfo=UTC)


def _with(
    last: GroupStatus | None, pod: PodView, generation: int, max_restarts: int
) -> GroupStatus:
    """What is known of a replica once one of its pods has ended."""
    cause = _cause(pod)
    if last and pod.created and pod.created <= _time(last.failures[-1]):
        # A pod of those that were there when it failed: one failure, whose cause this may be.
        # One that was told to stop meanwhile, because of that very failure, is no cause of it.
        stopped = pod.leaving and cause.time > last.cause.time
        better = not stopped and _first(cause, last.cause)
        return last.model_copy(update={"cause": cause}) if better else last
    now = _ended(pod)
    times = [time for time in (last.failures if last else []) if _time(time) > now - WINDOW]
    times.append(cause.time)
    stopped = len(times) > max_restarts
    pause = _pause(len(times))
    held = None if stopped or not pause else _text(now + pause)
    return GroupStatus(
        index=pod.group or 0,
        restarts=len(times),
        failures=times[-(max_restarts + 1) :],
        cause=cause,
        held_until=held,
        stopped=stopped,
        generation=generation,
    )


def _pause(failures: int) -> timedelta:
    """The first failure is followed by a start at once."""
    if failures < 2:
        return timedelta()
    doubled: timedelta = FIRST_PAUSE * 2 ** min(failures - 2, 16)
    return min(doubled, LONGEST_PAUSE)


def _cause(pod: PodView) -> GroupFailure:
    code, reason, message = pod.exited or (0, "", "")
    words = message[-WORDS:] or reason or "it said nothing"
    return GroupFailure(time=_text(_ended(pod)), pod=pod.name, exit_code=code, message=words)


def _first(cause: GroupFailure, known: GroupFailure) -> bool:
    """Whether a cause comes before the known one: a consequence never does, then the earlier one."""
    ranks = [(CONSEQUENCE in item.message, item.time) for item in (cause, known)]
    return ranks[0] < ranks[1]


def holds(items: Iterable[GroupStatus], generation: int) -> Mapping[str, Any]:
    """The replicas whose pods are not to start yet, as their servers read it."""
    held = {
        str(item.index): {"until": item.held_until, "why": words(item)}
        for item in items
        if item.generation == generation and (item.stopped or item.held_until)
    }
    return {"groups": held}


def pausing(items: Iterable[GroupStatus], now: str) -> tuple[GroupStatus, ...]:
    """Those of the replicas whose pods do not start at a time (RFC 3339, as in the status)."""
    return tuple(item for item in items if item.stopped or (item.held_until or "") > now)


def words(item: GroupStatus) -> str:
    """Why a replica failed, and what comes now, in one sentence or two."""
    cause = item.cause
    last = cause.message.strip().splitlines()[-1]
    first = f"Replica {item.index} failed: pod {cause.pod} ended with exit code {cause.exit_code}: {last}"
    if item.stopped:
        times = "once" if item.restarts == 1 else f"{item.restarts} times within an hour"
        return f"{first} It has failed {times} and starts again when the spec is changed."
    if item.held_until:
        return f"{first} It starts again at {item.held_until}."
    return first


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
