"""Network plan: allowed ingress and egress of a model's pods; everything else is denied.

NetworkPolicies are additive, so users who need more add a second one for the same pods.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.traffic.authorization import CONTROL_PORT, AuthorizationPlan

PUBLIC_HUB = "https://huggingface.co"
HTTP, HTTPS = 80, 443


@dataclass(frozen=True)
class Destination:
    """An allowed egress destination.

    Attributes:
        port: TCP port; None: any.
        namespace: Namespace of the pods; None: any address.
    """

    port: int | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Network:
    """The allowed connections of a model's pods, DNS excepted.

    Attributes:
        namespaces: Namespaces whose pods may send requests, besides the model's own.
        sidecar_namespaces: Namespaces whose pods may read the sidecar's health and metrics port.
        destinations: Allowed egress.
    """

    namespaces: tuple[str, ...] = ()
    sidecar_namespaces: tuple[str, ...] = ()
    destinations: tuple[Destination, ...] = ()


def network(
    authorization: AuthorizationPlan,
    settings: Settings,
    scraped: bool,
    destinations: tuple[Destination, ...],
) -> Network:
    """Return the allowed connections of a model's pods.

    Args:
        authorization: The authorization plan.
        settings: Namespaces of the operator, which reads the metrics, and of monitoring.
        scraped: Whether a PodMonitor makes Prometheus scrape the pods.
        destinations: Destinations of the model server.
    """
    requests = {caller.namespace or "" for caller in authorization.callers}
    watchers = {settings.namespace, settings.monitoring_namespace if scraped else ""}
    if not authorization.meshed:
        return Network(_named(requests | watchers), (), destinations)
    # The operator may also reach the model server: pods older than the mesh have no sidecar, and a
    # sidecar rejects connections without a certificate.
    control = Destination(CONTROL_PORT, settings.istio_namespace)
    return Network(
        _named(requests | {settings.namespace}), _named(watchers), (*destinations, control)
    )


def _named(namespaces: set[str]) -> tuple[str, ...]:
    return tuple(sorted(namespaces - {""}))


def destinations(urls: list[str], namespace: str) -> tuple[Destination, ...]:
    """Return the egress destinations that these URLs need from a namespace.

    A policy sees a connection to a Service only after its port was replaced by the pod's port, which
    is unknown here. If a host may be a Service of this cluster, all ports of the pods in its namespace
    are allowed.
    """
    found: dict[Destination, None] = {}
    for url in urls:
        parts = urlsplit(url if "//" in url else f"//{url}")
        port = _port(parts.netloc) or (HTTP if parts.scheme == "http" else HTTPS)
        found[Destination(port=port)] = None
        if inside := _namespace_of(parts.hostname or "", port, namespace):
            found[Destination(namespace=inside)] = None
    return tuple(found)


def _port(netloc: str) -> int | None:
    """Return the port of a network location, None if there is no valid one."""
    text = netloc.rpartition("]")[2].rpartition(":")[2] if ":" in netloc else ""
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else None


def _namespace_of(host: str, port: int, namespace: str) -> str | None:
    """Return the namespace of a Service by its host name: `hub`, `hub.models`, `hub.models.svc[...]`.

    A name of two labels with HTTPS is taken for an internet host, such as huggingface.co.
    """
    labels = host.rstrip(".").split(".")
    if ":" in host or labels[-1].isdigit():
        return None  # an address
    if len(labels) == 1:
        return namespace if labels[0] else None
    if len(labels) == 2:
        return labels[1] if port != HTTPS else None
    return labels[1] if labels[2] == "svc" else None
