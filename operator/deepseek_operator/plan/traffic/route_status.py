"""What the controllers of others say of a route: who takes it up, who refuses it, and why.

Istio says nothing of what was written by its own API (`istioctl analyze` does); Gateway API and
cert-manager answer in conditions.
"""

from collections.abc import Mapping
from typing import Any

from deepseek_operator.plan.state.route_conditions import RouteConditions
from deepseek_operator.plan.traffic.routing import NoRoute, Route

CERTIFICATE, GATEWAY, HTTP_ROUTE = "Certificate", "Gateway", "HTTPRoute"
# The conditions that count, by kind.
COUNTING = {
    CERTIFICATE: ("Ready",),
    GATEWAY: ("Accepted", "Programmed"),
    HTTP_ROUTE: ("Accepted", "ResolvedRefs"),
}

Object = Mapping[str, Any]


def conditions(kind: str, status: Object) -> list[Object]:
    """The conditions that count of an object's status, as far as they are read."""
    parents = status.get("parents") or [] if kind == HTTP_ROUTE else [status]
    return [
        {name: item.get(name, "") for name in ("type", "status", "reason", "message")}
        for parent in parents
        for item in parent.get("conditions") or []
        if item["type"] in COUNTING[kind]
    ]


def problem(route: Route, heard: RouteConditions) -> NoRoute | None:
    """What keeps a route from working, None where nothing is known against it."""
    if route.gateway.issuer and (trouble := _certificate(heard.get(CERTIFICATE, ()))):
        return trouble
    if route.api == "istio":
        return None
    if route.gateway.is_made and (trouble := _refused(GATEWAY, route, heard)):
        return trouble
    return _refused(HTTP_ROUTE, route, heard)


def _certificate(said: tuple[Object, ...]) -> NoRoute | None:
    condition = said[0] if said else {}
    if condition.get("status") == "True":
        return None
    why = condition.get("message") or "cert-manager has not looked at it yet"
    return NoRoute("CertificateNotReady", f"The Certificate has not been issued: {why}.")


def _refused(kind: str, route: Route, heard: RouteConditions) -> NoRoute | None:
    answers = heard.get(kind, ())
    for item in answers:
        if item["status"] == "False":
            return NoRoute(item["reason"] or "Refused", f"{kind}: {item['message']}".rstrip(": "))
    if all(any(_holds(item, name) for item in answers) for name in COUNTING[kind]):
        return None
    return NoRoute(
        "WaitsForController", f"No controller has taken up the {kind} yet. {_hint(route)}"
    )


def _holds(condition: Object, name: str) -> bool:
    return bool(condition["type"] == name and condition["status"] == "True")


def _hint(route: Route) -> str:
    gateway = route.gateway
    if gateway.is_made:
        return (
            f"Is there a controller for GatewayClass {gateway.class_name}? "
            "routing.gateway.className names another one."
        )
    where = f" in namespace {gateway.namespace}" if gateway.namespace else ""
    return (
        f"Is there a Gateway {gateway.name}{where}, and does it let this namespace attach routes?"
    )


def words(route: Route) -> str:
    """What a route does, as a sentence."""
    said = [f"{', '.join(route.hosts)}{route.path}/v1 leads to the model"]
    if len(route.backends) > 1:
        shares = (f"{backend.weight} to {backend.service}" for backend in route.backends)
        said.append(f"by weight {', '.join(shares)}")
    if route.affinity:
        said.append(f"requests with the same {route.affinity} go to the same replica")
    return "; ".join(said) + "."
