"""The bundled model server, which is configured by its config file."""

from deepseek_operator.plan.engines.program import Probe, Probes, Program, Programs, Serving
from deepseek_operator.plan.engines.variables import of_gpus, of_hub

CONFIG = "/etc/deepseek/config.json"

PROBES = Probes(
    # The port opens at once; from then on the server itself detects a stalled start (startSeconds
    # in its config file), so that a start that makes progress is never killed.
    startup=Probe("/health/live", period=2, failures=90),
    # Returns 503 only if a restart would help: the engine is gone, or hangs in a step.
    liveness=Probe("/health/live", period=10, failures=6, timeout=10),
    readiness=Probe("/health/ready", period=2, failures=3, timeout=5),
)


def programs(serving: Serving) -> Programs:
    """Return the containers of its pods."""
    return Programs(
        Program(
            command=(),
            args=("--config", CONFIG, *serving.args),
            env={"HOME": "/tmp", **of_hub(), **of_gpus(serving), **serving.env},  # noqa: S108 - a volume
            probes=PROBES,
            reads_config=True,
        )
    )
