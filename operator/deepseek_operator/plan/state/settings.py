"""Settings of the operator's installation that apply to all resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class SettingsError(Exception):
    """An invalid setting of the installation; the message has the cause and the next step."""


@dataclass(frozen=True)
class Settings:
    """Defaults that come from the installation of the operator.

    Attributes:
        server_image: Image of the bundled model server.
        server_pull_policy: Image pull policy of the model server; empty: Kubernetes' default.
        hub_endpoint: Mirror of the model hub; empty: the public one.
        namespace: Namespace of the operator; empty: it runs outside the cluster.
        monitoring_namespace: Namespace of the metrics scraper; empty: there is none.
        istio_namespace: Namespace of Istio's control plane, if there is one.
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
        """Return the settings from the operator's environment variables, which the chart sets.

        Raises:
            SettingsError: A variable is missing or invalid.
        """
        image = variables.get("DSO_SERVER_IMAGE", "")
        if not image:
            raise SettingsError(
                "DSO_SERVER_IMAGE is not set: set it to the image of the model server."
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
    """Parse labels written as `name=value,name=value`."""
    pairs = [item.partition("=") for item in text.split(",") if item]
    if not all(name and sign for name, sign, _ in pairs):
        raise SettingsError(f"DSO_POD_MONITOR_LABELS must be name=value,name=value, not {text!r}.")
    return {name: value for name, _, value in pairs}
