"""The operator installed in a cluster: its Deployment and settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.catalog import entries
from deepseek_operator.cli.errors import CommandError, UnansweredError
from deepseek_operator.cli.installation import installation
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import DEPLOYMENT, Kind
from deepseek_operator.plan.state.settings import Settings, SettingsError

Object = Mapping[str, Any]

# As in the chart (templates/_helpers.tpl) and controller/main.py.
LABELS = "app.kubernetes.io/name=deepseek-operator"
LEASES = "deepseek-operator"
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps")
CATALOGUE = "catalog.yaml"
NONE = (
    "No operator is installed in the cluster, so its settings are unknown: install it, or pass "
    "--values or --server-image."
)


async def deployments(client: Client) -> tuple[Object, ...]:
    """Return the Deployments of the operator in all namespaces; normally one.

    Raises:
        ApiError: The Deployments can't be read.
    """
    return tuple(await client.select(DEPLOYMENT, labels=LABELS))


async def settings(client: Client, namespace: str | None) -> Settings:
    """Return the settings of the installed operator, and load its catalogue entries.

    Args:
        client: The cluster.
        namespace: Namespace of the operator; None: any.

    Raises:
        CommandError: There is none or several, or its settings are invalid.
        ApiError: The cluster can't be queried.
    """
    found = [*await client.select(DEPLOYMENT, namespace or "", labels=LABELS)]
    if not found:
        raise UnansweredError(NONE)
    if len(found) > 1:
        where = ", ".join(sorted(item["metadata"]["namespace"] for item in found))
        raise CommandError(
            f"Several operators are installed ({where}): choose one with --operator-namespace."
        )
    (deployment,) = found
    try:
        settings = Settings.of(environment(deployment))
    except SettingsError as error:
        raise CommandError(f"The installed operator's Deployment: {error}") from error
    await _take_catalogue(client, deployment)
    return settings


@dataclass(frozen=True)
class Installing:
    """Command-line options about the operator's installation; without them the cluster is queried.

    Attributes:
        values: Values file of the chart.
        image: Image of the model server.
        namespace: Namespace of the operator.
    """

    values: Path | None
    image: str | None
    namespace: str | None

    async def settings(self, client: Client) -> Settings:
        """Return the operator's settings, from the options or from the cluster.

        Raises:
            CommandError: The settings are unknown or invalid.
            ApiError: The cluster can't be queried.
        """
        if self.values or self.image:
            return installation(self.values, self.image, self.namespace)
        return await settings(client, self.namespace)


def environment(deployment: Object) -> dict[str, str]:
    """Return the environment variables with literal values of the operator's container."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}


async def _take_catalogue(client: Client, deployment: Object) -> None:
    volumes = deployment["spec"]["template"]["spec"].get("volumes") or []
    name = next((item["configMap"]["name"] for item in volumes if item["name"] == "catalog"), None)
    if name is None:
        return
    namespace = deployment["metadata"]["namespace"]
    found = await client.get(CONFIG_MAP, namespace, name)
    where = f"ConfigMap {namespace}/{name}"
    try:
        entries.take(yaml.safe_load((found or {"data": {}})["data"].get(CATALOGUE, "{}")), where)
    except entries.EntryError as error:
        raise CommandError(str(error)) from error
