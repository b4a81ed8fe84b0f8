"""What the operator has said of resources, read from a cluster: their status and Events, as they are."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from deepseek_operator.api.section import KIND
from deepseek_operator.cli.output import warn
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ForbiddenError, UnreachableError
from deepseek_operator.cluster.kinds import EVENT, RESOURCE

Object = dict[str, Any]

EVERY = 2.0  # seconds between two looks


async def read(client: Client, namespace: str, name: str | None) -> list[Object]:
    """The resources of a namespace, or the one of a name, by namespace and name.

    Args:
        client: The cluster.
        namespace: Empty: all of them.
        name: None: every resource.

    Raises:
        ApiError: They can't be asked for.
    """
    bodies = await client.select(RESOURCE, namespace, name=name or "")
    about = f"involvedObject.kind={KIND}" + (f",involvedObject.name={name}" if name else "")
    try:
        events = await client.select(EVENT, namespace, fields=about)
    except ForbiddenError:
        events = None
    found = [said(body, events) for body in bodies]
    return sorted(found, key=lambda item: (item["namespace"], item["name"]))


def said(body: Object, events: Iterable[Object] | None) -> Object:
    """What was said of a resource.

    Args:
        body: The resource.
        events: Of all resources; None: they may not be read.
    """
    metadata, status = body["metadata"], body.get("status") or {}
    told = None
    if events is not None:
        own = [event for event in events if event["involvedObject"].get("uid") == metadata["uid"]]
        told = [_event(event) for event in sorted(own, key=_last)]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "model": body["spec"]["model"]["id"],
        # Whether it is about the newest spec.
        "current": status.get("observedGeneration") == metadata["generation"],
        "status": status,
        "events": told,
    }


def _event(event: Object) -> Object:
    named = {name: event.get(name, "") for name in ("type", "reason", "message")}
    return {"time": _last(event), "count": event.get("count") or 1, **named}


def _last(event: Object) -> str:
    """When it was told last; who writes Events in the newer way leaves lastTimestamp empty."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


async def follow(
    look: Callable[[], Any], tell: Callable[[list[Object]], None], every: float = EVERY
) -> None:
    """Tell what there is, and again whenever it has changed, for ever.

    Args:
        look: Reads it.
        tell: Is given it.
        every: Seconds between two looks.

    Raises:
        ApiError: It could not be read at first, or may not be read any more.
    """
    before: list[Object] | None = None
    while True:
        try:
            seen = await look()
        except UnreachableError as error:
            if before is None:
                raise
            warn(f"{error}; trying again")
        else:
            if seen != before:
                tell(seen)
            before = seen
        await asyncio.sleep(every)
