"""The installation of the operator, as the values of its chart say."""

from pathlib import Path
from typing import Any

from deepseek_operator.catalog import entries
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import CommandError
from deepseek_operator.plan.state.settings import Settings

# What stands for the image where nobody names one: none is published.
IMAGE = "deepseek-server"
TAG = "0.1.0"
# Where the operator runs, where nobody says.
NAMESPACE = "deepseek-system"
# What the chart says where its values are not changed.
MONITORING, ISTIO = "monitoring", "istio-system"


def installation(values: Path | None, image: str | None, namespace: str | None) -> Settings:
    """What an installation decides for all resources; entries of its catalogue are taken in.

    Args:
        values: Values of its chart; None: as the chart has them.
        image: Of the model server, before what the values say.
        namespace: Of the operator; None: `NAMESPACE`.

    Raises:
        CommandError: The values can't be used.
    """
    said = mapping(values) if values else {}
    server, hub, istio = (_part(said, path) for path in ("modelServer.image", "hub", "istio"))
    monitoring = _part(said, "monitoring")
    if catalogue := _part(said, "catalog"):
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
                f"The value {path} has no fields; the chart's values.yaml shows them."
            )
        found = part
    return found
