"""Endpoints of a pod for the operator, which is outside the mesh: metrics and readiness.

With STRICT mTLS a pod rejects connections without a certificate on its API port. Its sidecar has a port
that is excluded from mTLS: it forwards the kubelet's probes
(https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/) and merges the metrics of the
application into its own (https://istio.io/latest/docs/ops/integrations/prometheus/). That port exists in
any case, so no extra port has to be opened. Whether a pod has a sidecar is visible in the annotation
that the mesh changes at injection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_operator.plan.engines.program import PORT
from deepseek_operator.plan.state.observed import SERVER
from deepseek_operator.plan.traffic.authorization import METRICS_PATH, STATUS_PORT

PATH = "prometheus.io/path"


@dataclass(frozen=True)
class ScrapeTarget:
    """Port and paths of a pod's endpoints.

    Attributes:
        port: TCP port.
        ready: Path of readiness and load progress.
        metrics: Path of its metrics.
    """

    port: int
    ready: str
    metrics: str


SERVER_SCRAPE_TARGET = ScrapeTarget(PORT, "/health/ready", "/metrics")
SIDECAR_SCRAPE_TARGET = ScrapeTarget(STATUS_PORT, f"/app-health/{SERVER}/readyz", METRICS_PATH)


def scrape_target(pod: Mapping[str, Any]) -> ScrapeTarget:
    """Return the endpoints of a Pod object."""
    annotations = pod["metadata"].get("annotations") or {}
    return SIDECAR_SCRAPE_TARGET if annotations.get(PATH) == METRICS_PATH else SERVER_SCRAPE_TARGET
