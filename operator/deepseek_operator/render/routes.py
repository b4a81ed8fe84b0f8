"""The route of a model in the words of Istio's API or of Gateway API."""

from typing import Any

from deepseek_operator.plan.traffic.routing import Route
from deepseek_operator.render.template import render

Manifest = dict[str, Any]

API_PATH = "/v1"


def manifests(route: Route, metadata: Manifest) -> list[Manifest]:
    """What leads requests to a model.

    Args:
        route: What was decided.
        metadata: Of the children of the resource.
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
    """How the pods behind a Service share its requests, and what callers in the mesh may do to them.

    Args:
        metadata: Of the Service's name.
        affinity: Header by which a replica is chosen; None: the least busy one is.
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
    # Apart, because models may share a name from outside, and only at a gateway does Istio join what
    # several VirtualServices say of it. A resource's name has no dot, so no other has this one.
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
    """The gateway, as a VirtualService names it."""
    gateway = route.gateway
    own = gateway.name or name
    return f"{gateway.namespace}/{own}" if gateway.namespace else own


def _parent(route: Route, name: str) -> dict[str, str]:
    """The gateway, as an HTTPRoute names it."""
    gateway = route.gateway
    parent = {"name": gateway.name or name}
    return parent | ({"namespace": gateway.namespace} if gateway.namespace else {})


def _istio_match(route: Route) -> dict[str, Any]:
    """Requests for the API and nothing else: metrics and what else an engine has stay inside."""
    match: dict[str, Any] = {"uri": {"prefix": f"{route.path}{API_PATH}/"}}
    if route.headers:
        match["headers"] = {name: {"exact": value} for name, value in route.headers}
    return match


def _match(route: Route) -> dict[str, Any]:
    """The same in the words of Gateway API, whose prefixes are whole parts of a path."""
    match: dict[str, Any] = {"path": {"type": "PathPrefix", "value": f"{route.path}{API_PATH}"}}
    if route.headers:
        match["headers"] = [
            {"type": "Exact", "name": name, "value": value} for name, value in route.headers
        ]
    return match
