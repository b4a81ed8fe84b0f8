"""Waiting for a DeepSeekDeployment to become Ready, with its phase on screen."""

from __future__ import annotations

import json
import time
from typing import Any

from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.progress import say, step
from hack.cluster.target import Target

POLL_SECONDS = 0.5
# Reasons that are transient while a pod starts; others that last this long are permanent.
PASSING = frozenset({"", "Starting", "Loading", "RollingOut", "WaitingForNode"})
PATIENCE_SECONDS = 20.0


def wait_until_ready(target: Target, name: str, namespace: str, timeout: float) -> dict[str, Any]:
    """Wait for condition Ready and show changes of the phase.

    Args:
        target: The cluster.
        name: Name of the resource.
        namespace: Its namespace.
        timeout: Maximum seconds to wait.

    Returns:
        The resource.

    Raises:
        ClusterError: it cannot become ready, or did not in time; contains the operator's message.
    """
    deadline = time.monotonic() + timeout
    stuck_since: float | None = None
    shown = ""
    with step(f"waiting for {name}") as spinner:
        while True:
            resource = json.loads(
                kubectl(target, "get", "dsd", name, "--namespace", namespace, "--output", "json")
            )
            phase = resource.get("status", {}).get("phase", "no status yet")
            if phase != shown:
                say(f"  {spinner.seconds:5.1f} s  {phase}")
                spinner.text, shown = f"waiting for {name}: {phase}", phase
            ready = _ready(resource)
            if ready["status"] == "True":
                spinner.text = f"{name} is ready"
                return dict(resource)
            now = time.monotonic()
            stuck_since = None if ready["reason"] in PASSING else stuck_since or now
            stuck = stuck_since is not None and now - stuck_since > PATIENCE_SECONDS
            if stuck or now > deadline:
                raise ClusterError(f"{name} is not ready. {phase}. {ready['message']}")
            time.sleep(POLL_SECONDS)


def _ready(resource: dict[str, Any]) -> dict[str, str]:
    """Return the condition Ready, if it is about the newest spec."""
    for condition in resource.get("status", {}).get("conditions", []):
        current = condition["observedGeneration"] == resource["metadata"]["generation"]
        if condition["type"] == "Ready" and current:
            return dict(condition)
    return {"status": "Unknown", "reason": "", "message": "Check that the operator is running."}
