"""Following a DeepSeekDeployment to readiness, with its own words on screen."""

from __future__ import annotations

import json
import time
from typing import Any

from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.progress import say, step
from hack.cluster.target import Target

POLL_SECONDS = 0.5
# Conditions that come and go while a pod starts; any other that stays this long won't go away.
PASSING = frozenset({"", "Starting", "Loading", "RollingOut", "WaitingForNode"})
PATIENCE_SECONDS = 20.0


def wait_until_ready(target: Target, name: str, namespace: str, timeout: float) -> dict[str, Any]:
    """Wait for condition Ready, showing the phase as it changes.

    Args:
        target: The cluster.
        name: Name of the resource.
        namespace: Its namespace.
        timeout: Seconds to wait at most.

    Returns:
        The resource.

    Raises:
        ClusterError: it can't get ready, or did not in time; with the operator's own message.
    """
    deadline = time.monotonic() + timeout
    stuck_since: float | None = None
    shown = ""
    with step(f"waiting for {name}") as spinner:
        while True:
            resource = json.loads(
                kubectl(target, "get", "dsd", name, "--namespace", namespace, "--output", "json")
            )
            phase = resource.get("status", {}).get("phase", "seen by nobody yet")
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
    """The condition Ready, if it speaks of the newest spec."""
    for condition in resource.get("status", {}).get("conditions", []):
        current = condition["observedGeneration"] == resource["metadata"]["generation"]
        if condition["type"] == "Ready" and current:
            return dict(condition)
    return {"status": "Unknown", "reason": "", "message": "Does the operator run?"}
