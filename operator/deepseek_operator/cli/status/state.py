"""Status and Events of resources, read from a cluster and passed on unchanged."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from deepseek_operator.api.section import KIND
from deepseek_operator.cli.output import warn
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ForbiddenError, UnreachableError
from deepseek_operator.cluster.kinds import EVENT, RESOURCE

Object = dict[str, Any]

EVERY = 2.0  # seconds between two polls


async def read(client: Client, namespace: str, name: str | None) -> list[Object]:
    """Return the status of the resources of a namespace, sorted by namespace and name.

    Args:
        client: The cluster.
        namespace: The namespace; empty: all namespaces.
        name: Name of one resource; None: all resources.

    Raises:
        ApiError: The resources can't be read.
    """
    bodies = await client.select(RESOURCE, namespace, name=name or "")
    about = f"involvedObject.kind={KIND}" + (f",involvedObject.name={name}" if name else "")
    try:
        events = await client.select(EVENT, namespace, fields=about)
    except ForbiddenError:
        events = None
    found = [summarize(body, events) for body in bodies]
    return sorted(found, key=lambda item: (item["namespace"], item["name"]))


def summarize(body: Object, events: Iterable[Object] | None) -> Object:
    """Return the status of a resource and its Events as plain data.

    Args:
        body: The resource.
        events: Events of all resources; None if they can't be read.
    """
    metadata, status = body["metadata"], body.get("status") or {}
    own_events = None
    if events is not None:
        own = [event for event in events if event["involvedObject"].get("uid") == metadata["uid"]]
        own_events = [_event(event) for event in sorted(own, key=_last)]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "model": body["spec"]["model"]["id"],
        # True if the status is about the newest spec.
        "current": status.get("observedGeneration") == metadata["generation"],
        "status": status,
        "events": own_events,
    }


def _event(event: Object) -> Object:
    named = {name: event.get(name, "") for name in ("type", "reason", "message")}
    return {"time": _last(event), "count": event.get("count") or 1, **named}


def _last(event: Object) -> str:
    """Return the time of the last occurrence; the newer Event API leaves lastTimestamp empty."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


async def follow(
    look: Callable[[], Any], on_change: Callable[[list[Object]], None], every: float = EVERY
) -> None:
    """Report the resources now and after every change, forever.

    Args:
        look: Coroutine function that reads the resources.
        on_change: Callback for each new state.
        every: Seconds between two polls.

    Raises:
        ApiError: The first read failed, or access was revoked.
    """
    before: list[Object] | None = None
    while True:
        try:
            seen = await look()
        except UnreachableError as error:
            if before is None:
                raise
            warn(f"{error}; retrying")
        else:
            if seen != before:
                on_change(seen)
            before = seen
        await asyncio.sleep(every)
