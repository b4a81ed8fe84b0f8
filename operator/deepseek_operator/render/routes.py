"""Manifests of a model's route, with Istio's API or Gateway API."""

from typing import Any

from deepseek_operator.plan.traffic.routing import Route
from deepseek_operator.render.template import render

Manifest = dict[str, Any]

API_PATH = "/v1"


def manifests(route: Route, metadata: Manifest) -> list[Manifest]:
    """Return the manifests that route requests to a model.

    Args:
        route: The decided route.
        metadata: Metadata of the resource's children.
    """
    gateway = route.gateway
    values = {"route": route, "gateway": gateway, "metadata": metadata}
    made = []
    if gateway.issuer:
        made.append(render("certificate.yaml.j2", **values))
    if route.api == "istio":
        return [*made, *_istio(route, values)]
    if gateway.is_made:
        made.append(render("gateway.yaml.j2", **values))
    route_values = {"parent": _parent(route, metadata["name"]), "match": _match(route)}
    return [*made, render("httproute.yaml.j2", **values, **route_values)]


def sharing(metadata: Manifest, affinity: str | None = None) -> Manifest:
    """Return the DestinationRule of a Service: load balancing, connections and outlier detection.

    Args:
        metadata: Metadata with the name of the Service.
        affinity: Header for session affinity; None: the least busy replica is chosen.
    """
    return render("destinationrule.yaml.j2", metadata=metadata, affinity=affinity)


def _istio(route: Route, values: dict[str, Any]) -> list[Manifest]:
    gateway, metadata = route.gateway, values["metadata"]
    name = metadata["name"]
    made = []
    if gateway.is_made:
        selector = dict(gateway.selector)
        made.append(render("istiogateway.yaml.j2", **values, selector=selector))
    made += [
        sharing({**metadata, "name": backend.service}, route.affinity) for backend in route.backends
    ]
    outside = {
        "way": "outside",
        "metadata": metadata,
        "hosts": route.hosts,
        "gateways": [_reference(route, name)],
        "match": _istio_match(route),
        "rewrite": f"{API_PATH}/" if route.path else "",
    }
    # A second VirtualService, because models may share an external host, and Istio merges several
    # VirtualServices of a host only at a gateway. Names of resources have no dot, so this one is free.
    inside = {
        "way": "inside",
        "metadata": {**metadata, "name": f"{name}.mesh"},
        "hosts": [name],
        "gateways": ["mesh"],
        "match": None,
        "rewrite": "",
    }
    return made + [
        render("virtualservice.yaml.j2", **part, backends=route.backends)
        for part in (outside, inside)
    ]


def _reference(route: Route, name: str) -> str:
    """Return the gateway as a reference in a VirtualService."""
    gateway = route.gateway
    own = gateway.name or name
    return f"{gateway.namespace}/{own}" if gateway.namespace else own


def _parent(route: Route, name: str) -> dict[str, str]:
    """Return the gateway as a parentRef of an HTTPRoute."""
    gateway = route.gateway
    parent = {"name": gateway.name or name}
    return parent | ({"namespace": gateway.namespace} if gateway.namespace else {})


def _istio_match(route: Route) -> dict[str, Any]:
    """Return the match for the API alone; an engine's metrics and other paths stay internal."""
    match: dict[str, Any] = {"uri": {"prefix": f"{route.path}{API_PATH}/"}}
    if route.headers:
        match["headers"] = {name: {"exact": value} for name, value in route.headers}
    return match


def _match(route: Route) -> dict[str, Any]:
    """Return the same match for Gateway API, whose prefixes match whole path segments."""
    match: dict[str, Any] = {"path": {"type": "PathPrefix", "value": f"{route.path}{API_PATH}"}}
    if route.headers:
        match["headers"] = [
            {"type": "Exact", "name": name, "value": value} for name, value in route.headers
        ]
    return match
