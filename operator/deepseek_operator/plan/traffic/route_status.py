"""Acceptance of a route by the controllers of Gateway API and cert-manager, from their conditions.

Istio sets no conditions on objects of its own API; `istioctl analyze` checks them instead.
"""

from collections.abc import Mapping
from typing import Any

from deepseek_operator.plan.state.route_conditions import RouteConditions
from deepseek_operator.plan.traffic.routing import NoRoute, Route

CERTIFICATE, GATEWAY, HTTP_ROUTE = "Certificate", "Gateway", "HTTPRoute"
# The relevant conditions, by kind.
COUNTING = {
    CERTIFICATE: ("Ready",),
    GATEWAY: ("Accepted", "Programmed"),
    HTTP_ROUTE: ("Accepted", "ResolvedRefs"),
}

Object = Mapping[str, Any]


def conditions(kind: str, status: Object) -> list[Object]:
    """Return the relevant conditions of an object's status, reduced to the fields that are read."""
    parents = status.get("parents") or [] if kind == HTTP_ROUTE else [status]
    return [
        {name: item.get(name, "") for name in ("type", "status", "reason", "message")}
        for parent in parents
        for item in parent.get("conditions") or []
        if item["type"] in COUNTING[kind]
    ]


def problem(route: Route, route_conditions: RouteConditions) -> NoRoute | None:
    """Return the problem that keeps a route from working, None if none is known."""
    if route.gateway.issuer and (trouble := _certificate(route_conditions.get(CERTIFICATE, ()))):
        return trouble
    if route.api == "istio":
        return None
    if route.gateway.is_made and (trouble := _refused(GATEWAY, route, route_conditions)):
        return trouble
    return _refused(HTTP_ROUTE, route, route_conditions)


def _certificate(reported: tuple[Object, ...]) -> NoRoute | None:
    condition = reported[0] if reported else {}
    if condition.get("status") == "True":
        return None
    why = condition.get("message") or "cert-manager has not processed it yet"
    return NoRoute("CertificateNotReady", f"The Certificate is not issued yet: {why}.")


def _refused(kind: str, route: Route, route_conditions: RouteConditions) -> NoRoute | None:
    conditions = route_conditions.get(kind, ())
    for item in conditions:
        if item["status"] == "False":
            return NoRoute(item["reason"] or "Refused", f"{kind}: {item['message']}".rstrip(": "))
    if all(any(_holds(item, name) for item in conditions) for name in COUNTING[kind]):
        return None
    return NoRoute(
        "WaitsForController", f"No controller has accepted the {kind} yet. {_hint(route)}"
    )


def _holds(condition: Object, name: str) -> bool:
    return bool(condition["type"] == name and condition["status"] == "True")


def _hint(route: Route) -> str:
    gateway = route.gateway
    if gateway.is_made:
        return (
            f"Check that a controller for GatewayClass {gateway.class_name} is installed, or set "
            "routing.gateway.className."
        )
    where = f" in namespace {gateway.namespace}" if gateway.namespace else ""
    return f"Check that Gateway {gateway.name}{where} exists and allows routes from this namespace."


def describe(route: Route) -> str:
    """Return a sentence that describes a route."""
    parts = [f"{', '.join(route.hosts)}{route.path}/v1 routes to the model"]
    if len(route.backends) > 1:
        shares = (f"{backend.weight} to {backend.service}" for backend in route.backends)
        parts.append(f"weights: {', '.join(shares)}")
    if route.affinity:
        parts.append(f"requests with the same header {route.affinity} go to the same replica")
    return "; ".join(parts) + "."
