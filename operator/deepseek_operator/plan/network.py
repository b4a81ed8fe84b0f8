"""Who may reach a model's pods, and what they may reach: everything else is denied.

NetworkPolicies only ever add up, so whoever needs more writes a second one for the same pods.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from deepseek_operator.api.security import Security
from deepseek_operator.plan.settings import Settings

PUBLIC_HUB = "https://huggingface.co"
HTTP, HTTPS = 80, 443


@dataclass(frozen=True)
class Destination:
    """What pods may connect to.

    Attributes:
        port: TCP port; None: any.
        namespace: All pods of it; None: anything anywhere.
    """

    port: int | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Network:
    """What a model's pods may exchange with others, beside asking the DNS.

    Attributes:
        namespaces: Those whose pods may send requests, beside the model's own namespace.
        destinations: What its pods may connect to.
    """

    namespaces: tuple[str, ...] = ()
    destinations: tuple[Destination, ...] = ()


def clients(security: Security, settings: Settings, scraped: bool) -> tuple[str, ...]:
    """The namespaces whose pods may send requests.

    Args:
        security: What the resource says.
        settings: Where the operator runs, which reads the metrics, and where monitoring does.
        scraped: Whether somebody is told to scrape the pods.
    """
    named = {peer.namespace for peer in security.allow_from}
    named |= {settings.namespace, settings.monitoring_namespace if scraped else ""}
    return tuple(sorted(named - {""}))


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
