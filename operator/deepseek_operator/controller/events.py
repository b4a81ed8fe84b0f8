"""Kubernetes Events about a resource."""

import time
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.plan.state.labels import MANAGER
from deepseek_operator.plan.status.events import Event

MESSAGE_LIMIT = 1024


def event_manifest(body: dict[str, Any], event: Event, now: str) -> dict[str, Any]:
    """Return the Event object for an event of a resource."""
    metadata = body["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            # Named by time, so that lists, which are sorted by name, are in chronological order.
            "name": f"{metadata['name']}.{time.time_ns():x}",
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "message": event.message[:MESSAGE_LIMIT],
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
