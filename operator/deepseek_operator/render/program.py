"""Template values for the program that runs in a container."""

from typing import Any

from deepseek_operator.plan.engines.program import Probe, Program


def values(program: Program) -> dict[str, Any]:
    """Return the values of the pod's template that depend on its program."""
    asked = program.probes
    probes = (
        {
            "startupProbe": _probe(asked.startup),
            "livenessProbe": _probe(asked.liveness),
            "readinessProbe": _probe(asked.readiness),
        }
        if asked
        else {}
    )
    return {"program": program, "probes": probes}


def _probe(probe: Probe) -> dict[str, Any]:
    timeout = {} if probe.timeout is None else {"timeoutSeconds": probe.timeout}
    return {
        "httpGet": {"path": probe.path, "port": "http"},
        "periodSeconds": probe.period,
        **timeout,
        "failureThreshold": probe.failures,
    }
