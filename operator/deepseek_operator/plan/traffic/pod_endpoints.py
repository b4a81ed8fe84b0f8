"""Where the operator, which is in no mesh, asks a pod for its metrics and how far it is.

A pod in a mesh that is STRICT answers nobody on the port of its API who has no certificate. Its
sidecar has a port of its own that takes no part in the mesh: there it passes on what the kubelet asks
(https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/) and adds the metrics of the
program beside it to its own (https://istio.io/latest/docs/ops/integrations/prometheus/). That port is
there in any case, so nothing has to be opened. Which of the two a pod has, the annotation tells that
the mesh changes when it puts the sidecar in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_operator.plan.engines.program import PORT
from deepseek_operator.plan.state.observed import SERVER
from deepseek_operator.plan.traffic.authorization import METRICS_PATH, STATUS_PORT

PATH = "prometheus.io/path"


@dataclass(frozen=True)
class Desk:
    """Where a pod answers.

    Attributes:
        port: On which port.
        ready: The path that tells how far it is with its model.
        metrics: The path of its metrics.
    """

    port: int
    ready: str
    metrics: str


SERVER_DESK = Desk(PORT, "/health/ready", "/metrics")
SIDECAR_DESK = Desk(STATUS_PORT, f"/app-health/{SERVER}/readyz", METRICS_PATH)


def desk(pod: Mapping[str, Any]) -> Desk:
    """Where a Pod object is to be asked."""
    annotations = pod["metadata"].get("annotations") or {}
    return SIDECAR_DESK if annotations.get(PATH) == METRICS_PATH else SERVER_DESK
