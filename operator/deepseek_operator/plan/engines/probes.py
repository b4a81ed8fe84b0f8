"""What engines are asked that open their port only when the model is loaded."""

import math

from deepseek_operator.plan.engines.program import Probe, Probes

STARTUP_PERIOD = 10


def probes(start_seconds: int, alive: Probe, ready: str) -> Probes:
    """Probes for such an engine.

    It can't say whether its start stands still, so a start has the time that one of the slowest kind
    takes, and is begun anew then. What is downloaded by that time is kept.

    Args:
        start_seconds: How long a start may take.
        alive: What fails only where a restart would help.
        ready: The path that says whether a request would be taken.
    """
    return Probes(
        startup=Probe(ready, STARTUP_PERIOD, math.ceil(start_seconds / STARTUP_PERIOD), 5),
        liveness=alive,
        readiness=Probe(ready, 2, 3, 5),
    )
