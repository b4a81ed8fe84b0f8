"""Probes of engines that open their port only after loading the model."""

import math

from deepseek_operator.plan.engines.program import Probe, Probes

STARTUP_PERIOD = 10


def probes(start_seconds: int, alive: Probe, ready: str) -> Probes:
    """Return the probes for such an engine.

    The engine can't report a stalled start, so the startup probe allows the time of the slowest start and
    restarts the container after it. Downloaded files are kept.

    Args:
        start_seconds: Maximum time of a start.
        alive: Liveness probe, which fails only if a restart would help.
        ready: Path of the readiness probe.
    """
    return Probes(
        startup=Probe(ready, STARTUP_PERIOD, math.ceil(start_seconds / STARTUP_PERIOD), 5),
        liveness=alive,
        readiness=Probe(ready, 2, 3, 5),
    )
