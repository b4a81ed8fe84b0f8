"""Kubernetes Events about a resource."""

import time
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.plan.state.labels import MANAGER
from deepseek_operator.plan.status.events import News

MESSAGE_LIMIT = 1024


def event(body: dict[str, Any], news: News, now: str) -> dict[str, Any]:
    """Return the Event object for a piece of news about a resource."""
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
        "type": "Warning" if news.warning else "Normal",
        "reason": news.reason,
        "message": news.message[:MESSAGE_LIMIT],
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
