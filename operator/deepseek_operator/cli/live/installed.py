"""The operator that a cluster has: its Deployment, and what that decides for all resources."""

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

# By the chart (templates/_helpers.tpl) and controller/main.py.
LABELS = "app.kubernetes.io/name=deepseek-operator"
LEASES = "deepseek-operator"
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps")
CATALOGUE = "catalog.yaml"
NONE = (
    "No operator is installed in the cluster, so nobody says what it would do: name its image and "
    "values with --server-image or --values, or install it."
)


async def deployments(client: Client) -> tuple[Object, ...]:
    """The Deployments of the operator, wherever they are; one, as a rule.

    Raises:
        ApiError: They can't be asked for.
    """
    return tuple(await client.select(DEPLOYMENT, labels=LABELS))


async def settings(client: Client, namespace: str | None) -> Settings:
    """What the installed operator decides for all resources; its catalogue is taken in.

    Args:
        client: The cluster.
        namespace: Of the operator; None: wherever it is.

    Raises:
        CommandError: There is none, there are several, or it has no settings that can be read.
        ApiError: It can't be asked for.
    """
    found = [*await client.select(DEPLOYMENT, namespace or "", labels=LABELS)]
    if not found:
        raise UnansweredError(NONE)
    if len(found) > 1:
        where = ", ".join(sorted(item["metadata"]["namespace"] for item in found))
        raise CommandError(
            f"There are several operators ({where}): --operator-namespace names one."
        )
    (deployment,) = found
    try:
        said = Settings.of(environment(deployment))
    except SettingsError as error:
        raise CommandError(f"The installed operator's Deployment: {error}") from error
    await _take_catalogue(client, deployment)
    return said


@dataclass(frozen=True)
class Installing:
    """What was said of the operator's installation; nothing: the cluster is asked.

    Attributes:
        namespace: Of the operator.
    """

    values: Path | None
    image: str | None
    namespace: str | None

    async def settings(self, client: Client) -> Settings:
        """What it decides for all resources.

        Raises:
            CommandError: Nobody knows.
            ApiError: The cluster can't be asked.
        """
        if self.values or self.image:
            return installation(self.values, self.image, self.namespace)
        return await settings(client, self.namespace)


def environment(deployment: Object) -> dict[str, str]:
    """The variables of the operator's container that are written in its Deployment."""
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
