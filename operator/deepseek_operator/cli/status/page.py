"""Text output of resource status: one line per resource, or one resource in detail."""

from datetime import datetime
from typing import Any

from deepseek_operator.cli.output import new_table, show, write

Object = dict[str, Any]

UNSEEN = "not reconciled yet: check the operator with deepseek doctor"
OLD = "status of an older spec; "
UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
LAST_EVENTS = 10


def overview(found: list[Object]) -> None:
    """Print one line per resource."""
    table = new_table("namespace", "name", "model", "replicas", "phase", "endpoint")
    for item in found:
        status = item["status"]
        table.add_row(
            item["namespace"],
            item["name"],
            item["model"],
            _replicas(status),
            phase(item),
            status.get("endpoint") or "-",
        )
    show(table)


def phase(item: Object) -> str:
    """Return the operator's phase message, marked if it is about an older spec."""
    status = item["status"]
    if not status.get("phase"):
        return UNSEEN
    return ("" if item["current"] else OLD) + str(status["phase"])


def page(item: Object, now: datetime) -> None:
    """Print one resource in detail."""
    status = item["status"]
    write(f"{item['namespace']}/{item['name']}: {item['model']}\n")
    lines = [
        ("phase", phase(item)),
        ("replicas", f"{_replicas(status)} ready"),
        ("endpoint", status.get("endpoint")),
        ("runs on", (status.get("resolved") or {}).get("accelerator")),
        ("image", (status.get("resolved") or {}).get("image")),
        ("revision", status.get("revision")),
        ("rollout", _rollout(status.get("rollout"))),
    ]
    write("".join(f"  {name:9} {text}\n" for name, text in lines if text))
    _groups(status.get("groups") or [])
    _conditions(status.get("conditions") or [], now)
    _events(item["events"], now)


def _replicas(status: Object) -> str:
    return f"{status.get('readyReplicas', 0)}/{status.get('desiredReplicas', '?')}"


def _rollout(rollout: Object | None) -> str:
    if not rollout:
        return ""
    how = rollout.get("mode") or rollout.get("strategy") or ""
    step = f", step {rollout['step']} of {rollout['steps']}" if "step" in rollout else ""
    share = f", {rollout['weight']} % of requests" if "weight" in rollout else ""
    new = f", {rollout.get('updatedReplicas', 0)} updated"
    analysis = rollout.get("analysis")
    compared = f" {analysis['verdict']}: {analysis['message']}" if analysis else ""
    return f"{how}{step}{share}{new}: {rollout.get('message', '')}{compared}"


def _groups(groups: list[Object]) -> None:
    if not groups:
        return
    write("\nFailed replicas\n")
    table = new_table("  replica", "restarts", "state", "cause")
    for group in groups:
        state = "restarted"
        if group.get("stopped"):
            state = "stopped until the spec changes"
        elif group.get("heldUntil"):
            state = f"back-off until {group['heldUntil']}"
        cause = group["cause"]
        failure = f"{cause['pod']}, exit code {cause['exitCode']}: {cause['message']}"
        table.add_row(f"  {group['index']}", str(group["restarts"]), state, failure)
    show(table)


def _conditions(conditions: list[Object], now: datetime) -> None:
    if not conditions:
        return
    write("\nConditions\n")
    table = new_table("  type", "status", "reason", "since", "message")
    for item in conditions:
        since = age(item["lastTransitionTime"], now)
        table.add_row(f"  {item['type']}", item["status"], item["reason"], since, item["message"])
    show(table)


def _events(events: list[Object] | None, now: datetime) -> None:
    if events is None:
        write("\nEvents: no access. Ask for permission to list events in the namespace.\n")
        return
    if not events:
        return
    write("\nEvents\n")
    table = new_table("  age", "type", "reason", "message")
    for event in events[-LAST_EVENTS:]:
        table.add_row(
            f"  {age(event['time'], now)}", event["type"], event["reason"], event["message"]
        )
    show(table)


def age(since: str, now: datetime) -> str:
    """Return the time since a timestamp in at most two units, such as `2h5m`."""
    if not since:
        return "-"
    left = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    parts: list[str] = []
    for name, size in UNITS:
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number}{name}" if number else "")
    return "".join(parts[:2]) or "0s"
