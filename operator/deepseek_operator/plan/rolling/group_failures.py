"""Failures of multi-pod replicas: the first cause, and the backoff before a restart.

When one process of a replica ends, the others end too, and LeaderWorkerSet recreates all pods, again
and again. This module keeps the first cause of each failure after the pods are gone, and computes a
backoff. Pods read the backoff from a file beside their config file (`holds`), because LeaderWorkerSet
creates them and the operator has no other way to delay their start.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from deepseek_operator.api.status import GroupFailure, GroupStatus
from deepseek_operator.plan.state.observed import PodView

# Marks the last message of a process that ended because another one did (the server's lifeline).
CONSEQUENCE = " ends too"
# Only failures within this time count.
WINDOW = timedelta(hours=1)
# The backoff after the second failure; it doubles with each further one.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=5)
# Characters of a process's last message that are kept.
MESSAGE_LENGTH = 1000
PREFLIGHT_FAILED = "PreflightFailed"
NETWORK_TOO_SLOW = "NetworkTooSlow"
MET = "Met"
# The exit code of a server whose pods did not connect, or whose preflight failed.
EXIT_GANG = 5


def groups(
    before: Iterable[GroupStatus],
    failed: Iterable[PodView],
    generation: int,
    size: int,
    max_restarts: int,
) -> list[GroupStatus]:
    """Return the recorded failures of every replica, updated with pods that have ended.

    Args:
        before: Failures that the status records.
        failed: Pods whose server has ended.
        generation: Of the spec; failures of earlier generations are dropped.
        size: Number of replicas.
        max_restarts: Failures within an hour after which a replica still restarts.
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
    """Return the failures of a replica with one more pod that has ended."""
    cause = _cause(pod)
    if last and pod.created and pod.created <= _time(last.failures[-1]):
        # The pod existed when the replica failed: the same failure, and perhaps its cause. A pod
        # that was deleted after the failure, because of it, is not the cause.
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
    """Return the backoff after a number of failures; the first one restarts at once."""
    if failures < 2:
        return timedelta()
    doubled: timedelta = FIRST_PAUSE * 2 ** min(failures - 2, 16)
    return min(doubled, LONGEST_PAUSE)


def _cause(pod: PodView) -> GroupFailure:
    code, reason, message = pod.exited or (0, "", "")
    text = message[-MESSAGE_LENGTH:] or reason or "no message"
    return GroupFailure(time=_text(_ended(pod)), pod=pod.name, exit_code=code, message=text)


def _first(cause: GroupFailure, known: GroupFailure) -> bool:
    """Tell whether a cause precedes the known one: consequences come last, then the earlier one wins."""
    ranks = [(CONSEQUENCE in item.message, item.time) for item in (cause, known)]
    return ranks[0] < ranks[1]


def holds(items: Iterable[GroupStatus], generation: int) -> Mapping[str, Any]:
    """Return the replicas whose pods must not start yet, in the format that the server reads."""
    held = {
        str(item.index): {"until": item.held_until, "why": describe(item)}
        for item in items
        if item.generation == generation and (item.stopped or item.held_until)
    }
    return {"groups": held}


def pausing(items: Iterable[GroupStatus], now: str) -> tuple[GroupStatus, ...]:
    """Return the replicas whose pods do not start at a time (RFC 3339, as in the status)."""
    return tuple(item for item in items if item.stopped or (item.held_until or "") > now)


def describe(item: GroupStatus) -> str:
    """Return one or two sentences: why a replica failed, and when it restarts."""
    cause = item.cause
    last = cause.message.strip().splitlines()[-1]
    first = f"Replica {item.index} failed: pod {cause.pod} ended with exit code {cause.exit_code}: {last}"
    if item.stopped:
        times = "once" if item.restarts == 1 else f"{item.restarts} times within an hour"
        return f"{first} It has failed {times} and restarts only when the spec changes."
    if item.held_until:
        return f"{first} It restarts at {item.held_until}."
    return first


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
