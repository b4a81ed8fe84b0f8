"""The operator's settings, as given by the values of its chart."""

from pathlib import Path
from typing import Any

from deepseek_operator.catalog import entries
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import CommandError
from deepseek_operator.plan.state.settings import Settings

# Placeholder for the server image if none is configured: no image is published.
IMAGE = "deepseek-server"
TAG = "0.1.0"
# Default namespace of the operator.
NAMESPACE = "deepseek-system"
# Default values of the chart.
MONITORING, ISTIO = "monitoring", "istio-system"


def installation(values: Path | None, image: str | None, namespace: str | None) -> Settings:
    """Return the settings of an installation, and load its catalogue entries.

    Args:
        values: Values file of the chart; None: the chart's defaults.
        image: Image of the model server; overrides the values.
        namespace: Namespace of the operator; None: `NAMESPACE`.

    Raises:
        CommandError: The values can't be used.
    """
    chart_values = mapping(values) if values else {}
    server, hub, istio = (
        _part(chart_values, path) for path in ("modelServer.image", "hub", "istio")
    )
    monitoring = _part(chart_values, "monitoring")
    if catalogue := _part(chart_values, "catalog"):
        try:
            entries.take(catalogue, f"{values}: catalog")
        except entries.EntryError as error:
            raise CommandError(str(error)) from error
    return Settings(
        server_image=image or _image(server),
        server_pull_policy=server.get("pullPolicy") or "",
        hub_endpoint=hub.get("endpoint") or "",
        namespace=NAMESPACE if namespace is None else namespace,
        monitoring_namespace=monitoring.get("namespace", MONITORING) or "",
        istio_namespace=istio.get("namespace") or ISTIO,
        pod_monitor_labels=monitoring.get("podMonitorLabels") or {},
    )


def _image(server: dict[str, Any]) -> str:
    repository = server.get("repository") or IMAGE
    if server.get("digest"):
        return f"{repository}@{server['digest']}"
    return f"{repository}:{server.get('tag') or TAG}"


def _part(values: dict[str, Any], path: str) -> dict[str, Any]:
    found = values
    for name in path.split("."):
        part = found.get(name) or {}
        if not isinstance(part, dict):
            raise CommandError(
                f"The chart value {path} must be a mapping; see the chart's values.yaml."
            )
        found = part
    return found
