"""What the operator's own installation decides for all resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class SettingsError(Exception):
    """What an installation says can't be used; the text says why and what to do."""


@dataclass(frozen=True)
class Settings:
    """Defaults that come from the installation of the operator.

    Attributes:
        server_image: Image of the bundled model server.
        server_pull_policy: Image pull policy of the model server; empty: Kubernetes' default.
        hub_endpoint: Mirror of the model hub; empty: the public one.
        namespace: Where the operator runs; empty: outside the cluster.
        monitoring_namespace: Where what scrapes metrics runs; empty: nowhere.
        istio_namespace: Where Istio's control plane runs, if there is one.
        pod_monitor_labels: Labels by which a Prometheus chooses its PodMonitors.
    """

    server_image: str
    server_pull_policy: str = ""
    hub_endpoint: str = ""
    namespace: str = ""
    monitoring_namespace: str = ""
    istio_namespace: str = "istio-system"
    pod_monitor_labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> "Settings":
        """What the variables of the operator's process say, which the chart sets.

        Raises:
            SettingsError: One is missing or can't be read.
        """
        image = variables.get("DSO_SERVER_IMAGE", "")
        if not image:
            raise SettingsError(
                "DSO_SERVER_IMAGE is not set: it names the image of the model server."
            )
        return cls(
            server_image=image,
            server_pull_policy=variables.get("DSO_SERVER_PULL_POLICY", ""),
            hub_endpoint=variables.get("DSO_HUB_ENDPOINT", ""),
            namespace=variables.get("DSO_NAMESPACE", ""),
            monitoring_namespace=variables.get("DSO_MONITORING_NAMESPACE", ""),
            istio_namespace=variables.get("DSO_ISTIO_NAMESPACE") or "istio-system",
            pod_monitor_labels=_labels(variables.get("DSO_POD_MONITOR_LABELS", "")),
        )


def _labels(text: str) -> dict[str, str]:
    """Labels written as `name=value,name=value`."""
    pairs = [item.partition("=") for item in text.split(",") if item]
    if not all(name and sign for name, sign, _ in pairs):
        raise SettingsError(f"DSO_POD_MONITOR_LABELS must be name=value,name=value, not {text!r}.")
    return {name: value for name, _, value in pairs}
