"""Events of a resource, derived from the difference of two statuses so that none is repeated."""

from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.status import GroupStatus
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.rolling import group_failures as gangs
from deepseek_operator.plan.status import conditions as status
from deepseek_operator.plan.status.progress import SURGE_WITHDRAWN
from deepseek_operator.plan.status.rollout_status import ROLLED_BACK

ROLLOUT_STARTED = "RolloutStarted"
ROLLOUT_MODE_CHANGED = "RolloutModeChanged"
ROLLOUT_FINISHED = "RolloutFinished"
ROLLOUT_WITHDRAWN = "RolloutWithdrawn"
SCALED = "Scaled"
REPLICA_LOST = "ReplicaLost"

Status = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One Event: its type (Warning or Normal), reason and message."""

    warning: bool
    reason: str
    message: str


def events(before: Status, after: Status) -> list[Event]:
    """Return the Events between two statuses of a resource, in order."""
    found = (
        _scaled(before, after),
        _lost(before, after),
        *_rollout(before, after),
        *_failed(before, after),
        _turned(before, after),
    )
    return [item for item in found if item]


def _scaled(before: Status, after: Status) -> Event | None:
    old, new = before.get("desiredReplicas"), after.get("desiredReplicas")
    if old is None or old == new:
        return None
    return Event(False, SCALED, f"Scaled from {old} to {new} replicas.")


def _lost(before: Status, after: Status) -> Event | None:
    """Return an Event if fewer replicas serve without a rollout or scaling."""
    if before.get("rollout") or after.get("rollout"):
        return None
    wanted, ready = after.get("desiredReplicas", 0), after.get("readyReplicas", 0)
    same = before.get("desiredReplicas") == wanted
    if not same or not ready < min(before.get("readyReplicas", 0), wanted):
        return None
    why = status.condition(after, status.READY)["message"]
    return Event(True, REPLICA_LOST, f"{ready} of {wanted} replicas are serving. {why}")


def _rollout(before: Status, after: Status) -> list[Event]:
    old, new = before.get("rollout"), after.get("rollout")
    if any((rollout or {}).get("strategy", "auto") != "auto" for rollout in (old, new)):
        return _change(old, new, after.get("revision"))
    if new and not old:
        return [Event(False, ROLLOUT_STARTED, new["message"])]
    if new and old and old["reason"] != new["reason"]:
        withdrawn = new["reason"] == SURGE_WITHDRAWN
        reason = SURGE_WITHDRAWN if withdrawn else ROLLOUT_MODE_CHANGED
        return [Event(withdrawn, reason, new["message"])]
    if old and not new and status.condition(after, status.READY)["reason"] == status.READY:
        return [Event(False, ROLLOUT_FINISHED, "All replicas are updated and serving.")]
    return []


def _change(old: Status | None, new: Status | None, serves: str | None) -> list[Event]:
    """Return the Events of a canary or blue-green rollout: each step, and the end."""
    if new is not None:
        names = ("revision", "reason", "step")
        if old and all(old.get(name) == new.get(name) for name in names):
            return []
        return [Event(new["reason"] == ROLLED_BACK, new["reason"], new["message"])]
    if old is None or not serves:
        return []
    if serves == old["revision"]:
        return [Event(False, ROLLOUT_FINISHED, f"Revision {serves} is now stable.")]
    message = f"Revision {serves} keeps serving: the spec was reverted to it."
    return [Event(False, ROLLOUT_WITHDRAWN, message)]


def _failed(before: Status, after: Status) -> list[Event]:
    """Return Events for multi-pod replicas that failed, or whose first cause became known."""
    known = {item["index"]: item for item in before.get("groups", [])}
    return [
        Event(True, findings.REPLICA_FAILED, gangs.describe(GroupStatus.model_validate(item)))
        for item in after.get("groups", [])
        if item["cause"] != known.get(item["index"], {}).get("cause")
    ]


def _turned(before: Status, after: Status) -> Event | None:
    """Return an Event if the reason of Ready changed; rollouts have Events of their own."""
    old, new = status.condition(before, status.READY), status.condition(after, status.READY)
    if old.get("reason") == new["reason"] or new["reason"] in (
        status.ROLLING_OUT,
        ROLLED_BACK,
    ):
        return None
    if before.get("rollout") and new["reason"] == status.READY:
        return None
    ordinary = new["status"] == "True" or new["reason"] in findings.ORDINARY
    return Event(not ordinary, new["reason"], new["message"])
