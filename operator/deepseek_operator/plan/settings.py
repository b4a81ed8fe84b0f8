"""What the operator's own installation decides for all resources."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
