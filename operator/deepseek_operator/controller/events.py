"""Kubernetes Events about a resource: what happened, told once."""

import time
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.plan.state.labels import MANAGER
from deepseek_operator.plan.status.events import News

MESSAGE_LIMIT = 1024


def event(body: dict[str, Any], news: News, now: str) -> dict[str, Any]:
    """The Event object that tells a piece of news about a resource."""
    metadata = body["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            # By time, so that lists, which are sorted by name, tell the story in its order.
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
