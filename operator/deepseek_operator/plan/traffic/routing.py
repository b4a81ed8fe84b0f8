"""Routing of requests from outside the cluster: the plan, independent of the API that implements it.

The API depends on what the cluster has, and may change while the model serves. A cluster without one
is no reason to refuse a resource, because the Service exists in any case.
"""

from dataclasses import dataclass
from typing import Literal

from deepseek_operator.api.routing import Routing
from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.state.refusal import API_MISSING
from deepseek_operator.plan.state.settings import Settings

# The kinds whose presence decides about the API.
VIRTUAL_SERVICE, HTTP_ROUTE, CERTIFICATE = "VirtualService", "HTTPRoute", "Certificate"
DEFAULT_CLASS = "istio"
DEFAULT_SELECTOR = {"istio": "ingressgateway"}


RouteApi = Literal["istio", "gatewayAPI"]
KINDS: dict[RouteApi, str] = {"istio": VIRTUAL_SERVICE, "gatewayAPI": HTTP_ROUTE}


@dataclass(frozen=True)
class Backend:
    """A Service that receives a share of the requests.

    Attributes:
        service: Its name, in the namespace of the resource.
        weight: Its weight, relative to the other backends.
    """

    service: str
    weight: int = 100


@dataclass(frozen=True)
class GatewayPlan:
    """The gateway that receives the requests.

    Attributes:
        name: Name of an existing gateway; None: the operator creates one with the resource's name.
        namespace: Namespace of an existing gateway; None: that of the resource.
        pods_namespace: Namespace of its pods; None: that of the resource.
        class_name: GatewayClass of a gateway created with Gateway API.
        selector: Pod labels of a gateway created with Istio's API.
        secret: Secret with the certificate of a created gateway; None: plain HTTP.
        issuer: Kind and name of the cert-manager issuer of that Secret; None: the user provides it.
    """

    name: str | None = None
    namespace: str | None = None
    pods_namespace: str | None = None
    class_name: str = DEFAULT_CLASS
    selector: tuple[tuple[str, str], ...] = tuple(DEFAULT_SELECTOR.items())
    secret: str | None = None
    issuer: tuple[str, str] | None = None

    @property
    def is_made(self) -> bool:
        """Whether the operator creates it."""
        return self.name is None


@dataclass(frozen=True)
class Route:
    """The route of requests from outside the cluster to a model.

    Attributes:
        api: The API that implements it.
        hosts: Host names for clients; the first one is in the endpoint.
        path: Path prefix before /v1, empty or with a leading slash.
        headers: Header names, in lower case, and values that a request must have.
        scheme: URL scheme of the gateway.
        affinity: Header that selects the replica; None: the least busy one is selected.
        backends: The Services that share the requests.
    """

    api: RouteApi
    hosts: tuple[str, ...]
    gateway: GatewayPlan
    backends: tuple[Backend, ...]
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    scheme: str = "https"
    affinity: str | None = None

    @property
    def url(self) -> str:
        """Base URL; the API is below /v1."""
        return f"{self.scheme}://{self.hosts[0]}{self.path}"


@dataclass(frozen=True)
class NoRoute:
    """The reason why a route is missing or incomplete.

    Attributes:
        reason: Machine-readable, in CamelCase.
        message: What is missing, and the next step.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class RoutingPlan:
    """The routing plan of a resource.

    Attributes:
        route: The route, None if the cluster can't have one.
        error: What the cluster can't provide of spec.routing, None if nothing is missing.
    """

    route: Route | None = None
    error: NoRoute | None = None

    @property
    def pods_namespaces(self) -> tuple[str, ...]:
        """Namespaces of the gateway's pods, other than the resource's."""
        found = self.route and self.route.gateway.pods_namespace
        return (found,) if found else ()


def routing_plan(
    routing: Routing | None, name: str, settings: Settings, served: frozenset[str]
) -> RoutingPlan | None:
    """Return the routing plan; None if the spec requests no route.

    Args:
        routing: `spec.routing`.
        name: Name of the resource.
        settings: Settings of the installation: Istio's namespace.
        served: Names of the optional kinds that the cluster has.
    """
    if routing is None or routing.api == "none" or not routing.hosts:
        return None
    api = _api(routing, served)
    if api is None:
        return RoutingPlan(error=_missing(routing))
    if routing.tls and routing.tls.issuer and CERTIFICATE not in served:
        return RoutingPlan(error=_needs("routing.tls.issuer", CERTIFICATE))
    if error := _out_of_reach(routing, api):
        return RoutingPlan(error=error)
    return RoutingPlan(_route(routing, api, name, settings), _without_affinity(routing, api))


def _api(routing: Routing, served: frozenset[str]) -> RouteApi | None:
    """Return the API for the route, None if the cluster has none of the acceptable ones."""
    if routing.api in ("istio", "gatewayAPI"):
        order = [routing.api]
    elif _is_for_gateway_api(routing):
        order = ["gatewayAPI", "istio"]
    else:
        order = ["istio", "gatewayAPI"]
    return next((api for api in order if KINDS[api] in served), None)


def _is_for_gateway_api(routing: Routing) -> bool:
    """Tell whether spec.routing needs Gateway API, whose gateway pods run beside their Secret."""
    issued = routing.tls is not None and routing.tls.issuer is not None
    return routing.gateway.class_name is not None or (issued and not routing.gateway.selector)


def _missing(routing: Routing) -> NoRoute:
    if routing.api == "auto":
        commands = install_commands()
        return NoRoute(
            API_MISSING,
            "No route: this cluster has neither Istio nor Gateway API; the model is served by its "
            f"Service only. Install Istio ({commands[VIRTUAL_SERVICE]}) or Gateway API with a controller "
            f"({commands[HTTP_ROUTE]}), or set routing.api to none.",
        )
    return _needs(f"routing.api: {routing.api}", KINDS[routing.api])  # type: ignore[index]


def _needs(field: str, kind: str) -> NoRoute:
    return NoRoute(
        API_MISSING,
        f"No route: {field} needs the kind {kind}, which is not installed in this cluster; the model "
        f"is served by its Service only. Install it ({install_commands()[kind]}), or change {field}.",
    )


def _out_of_reach(routing: Routing, api: RouteApi) -> NoRoute | None:
    """Return the problem that the gateway can't read the certificate, or None."""
    issued = routing.tls is not None and routing.tls.issuer is not None
    if api == "gatewayAPI" or not issued or routing.gateway.selector:
        return None
    return NoRoute(
        "CertificateOutOfReach",
        "No route: Istio reads certificates from the namespace of the gateway's pods, but "
        "routing.tls.issuer stores the certificate in this namespace. Run a gateway here and select "
        f"it with routing.gateway.selector, or install Gateway API ({install_commands()[HTTP_ROUTE]}).",
    )


def _without_affinity(routing: Routing, api: RouteApi) -> NoRoute | None:
    if api == "istio" or routing.affinity is None:
        return None
    return NoRoute(
        "AffinityNeedsIstio",
        "The route works without routing.affinity, which Gateway API does not support: install "
        f"Istio ({install_commands()[VIRTUAL_SERVICE]}), or remove routing.affinity.",
    )


def _route(routing: Routing, api: RouteApi, name: str, settings: Settings) -> Route:
    return Route(
        api=api,
        hosts=tuple(routing.hosts),
        gateway=_gateway(routing, api, name, settings),
        backends=(Backend(name),),
        path=routing.path or "",
        headers=tuple((header.name.lower(), header.value) for header in routing.headers),
        scheme=_scheme(routing),
        affinity=routing.affinity.header if routing.affinity and api == "istio" else None,
    )


def _scheme(routing: Routing) -> str:
    if routing.gateway.name is not None:
        return routing.gateway.protocol or "https"
    return "https" if routing.tls else "http"


def _gateway(routing: Routing, api: RouteApi, name: str, settings: Settings) -> GatewayPlan:
    gateway, tls = routing.gateway, routing.tls
    if gateway.name is not None:
        pods = gateway.pods_namespace or gateway.namespace
        return GatewayPlan(name=gateway.name, namespace=gateway.namespace, pods_namespace=pods)
    pods = gateway.pods_namespace or (settings.istio_namespace if api == "istio" else None)
    secret = issuer = None
    if tls is not None:
        secret = tls.secret_name or f"{name}-tls"
        issuer = (tls.issuer.kind, tls.issuer.name) if tls.issuer else None
    return GatewayPlan(
        pods_namespace=pods,
        class_name=gateway.class_name or DEFAULT_CLASS,
        selector=tuple((gateway.selector or DEFAULT_SELECTOR).items()),
        secret=secret,
        issuer=issuer,
    )
