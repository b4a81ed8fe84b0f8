"""Who may reach a model's pods, and what they may reach: everything else is denied.

NetworkPolicies only ever add up, so whoever needs more writes a second one for the same pods.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.traffic.authorization import CONTROL_PORT, Trust

PUBLIC_HUB = "https://huggingface.co"
HTTP, HTTPS = 80, 443


@dataclass(frozen=True)
class Destination:
    """What pods may connect to.

    Attributes:
        port: TCP port; None: any.
        namespace: Pods of it; None: anything anywhere.
    """

    port: int | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Network:
    """What a model's pods may exchange with others, beside asking the DNS.

    Attributes:
        namespaces: Those whose pods may send requests, beside the model's own namespace.
        beside: Those whose pods may ask the sidecar how it and the model server are.
        destinations: What its pods may connect to.
    """

    namespaces: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    destinations: tuple[Destination, ...] = ()


def network(
    trust: Trust, settings: Settings, scraped: bool, destinations: tuple[Destination, ...]
) -> Network:
    """What a model's pods may exchange with others.

    Args:
        trust: Who may send requests, and whether the pods are in a mesh.
        settings: Where the operator runs, which reads the metrics, and where monitoring does.
        scraped: Whether somebody is told to scrape the pods.
        destinations: What the model server connects to.
    """
    requests = {caller.namespace or "" for caller in trust.callers}
    watchers = {settings.namespace, settings.monitoring_namespace if scraped else ""}
    if not trust.meshed:
        return Network(_named(requests | watchers), (), destinations)
    # The operator may ask the model server, too: pods that were there before the mesh have no
    # sidecar, and where there is one, it answers nobody without a certificate.
    control = Destination(CONTROL_PORT, settings.istio_namespace)
    return Network(
        _named(requests | {settings.namespace}), _named(watchers), (*destinations, control)
    )


def _named(namespaces: set[str]) -> tuple[str, ...]:
    return tuple(sorted(namespaces - {""}))


def destinations(urls: list[str], namespace: str) -> tuple[Destination, ...]:
    """What has to be open for these URLs to be reached from a namespace.

    A policy sees a connection to a Service only after its port was replaced by the pod's, which
    nobody knows here: where a host can be a Service of this cluster, all ports of the pods in its
    namespace are opened.
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
    """The port, None where there is none or what stands there is no port."""
    text = netloc.rpartition("]")[2].rpartition(":")[2] if ":" in netloc else ""
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else None


def _namespace_of(host: str, port: int, namespace: str) -> str | None:
    """The namespace of a Service of this name: `hub`, `hub.models`, `hub.models.svc[...]`.

    Two words that are asked over HTTPS are a site of the internet, such as huggingface.co.
    """
    labels = host.rstrip(".").split(".")
    if ":" in host or labels[-1].isdigit():
        return None  # an address
    if len(labels) == 1:
        return namespace if labels[0] else None
    if len(labels) == 2:
        return labels[1] if port != HTTPS else None
    return labels[1] if labels[2] == "svc" else None
