"""How requests from outside the cluster reach a model: the decision, apart from any API's words.

By which API it is made depends on what the cluster serves, and may change while the model serves:
the Service is there in any case, so a cluster without such an API is no reason to refuse anything.
"""

from dataclasses import dataclass
from typing import Literal

from deepseek_operator.api.routing import Routing
from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.state.refusal import API_MISSING
from deepseek_operator.plan.state.settings import Settings

# The kinds whose API decides.
VIRTUAL_SERVICE, HTTP_ROUTE, CERTIFICATE = "VirtualService", "HTTPRoute", "Certificate"
DEFAULT_CLASS = "istio"
DEFAULT_SELECTOR = {"istio": "ingressgateway"}


RouteApi = Literal["istio", "gatewayAPI"]
KINDS: dict[RouteApi, str] = {"istio": VIRTUAL_SERVICE, "gatewayAPI": HTTP_ROUTE}


@dataclass(frozen=True)
class Backend:
    """A Service that takes a share of the requests.

    Attributes:
        service: Its name, in the namespace of the resource.
        weight: Its share, relative to those of the others.
    """

    service: str
    weight: int = 100


@dataclass(frozen=True)
class GatewayPlan:
    """The gateway that requests come through.

    Attributes:
        name: One that exists; None: one is made, of the resource's name.
        namespace: Of the one that exists; None: that of the resource.
        pods_namespace: Where its pods run; None: that of the resource.
        class_name: GatewayClass of one that is made with Gateway API.
        selector: Labels of the pods of one that is made with Istio's API.
        secret: Secret with the certificate of one that is made; None: it speaks plain HTTP.
        issuer: Kind and name of what of cert-manager fills that Secret; None: somebody does.
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
        """Whether it is ours."""
        return self.name is None


@dataclass(frozen=True)
class Route:
    """The way of requests from outside to a model.

    Attributes:
        api: By which API it is made.
        hosts: Names under which clients reach it; the first is told to people.
        path: What stands before /v1, empty or with a slash at its beginning.
        headers: Names, in small letters, and values that a request must have.
        scheme: What the gateway speaks with clients.
        affinity: Header by which a replica is chosen; None: the least busy one is.
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
    """Why there is no route, or not all of one that was asked for.

    Attributes:
        reason: One CamelCase word for programs.
        message: What is missing, and what to do.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Ways:
    """What was made of spec.routing.

    Attributes:
        route: What is made, None where nothing can be.
        lack: What of it the cluster can't do, None where all is well.
    """

    route: Route | None = None
    lack: NoRoute | None = None

    @property
    def pods_namespaces(self) -> tuple[str, ...]:
        """Namespaces, other than the resource's, of pods that requests come from."""
        found = self.route and self.route.gateway.pods_namespace
        return (found,) if found else ()


def ways(
    routing: Routing | None, name: str, settings: Settings, served: frozenset[str]
) -> Ways | None:
    """What is made of spec.routing; None where no route is asked for.

    Args:
        routing: What the resource says.
        name: The resource's.
        settings: Where Istio runs.
        served: Names of the optional kinds that the cluster has.
    """
    if routing is None or routing.api == "none" or not routing.hosts:
        return None
    api = _api(routing, served)
    if api is None:
        return Ways(lack=_missing(routing))
    if routing.tls and routing.tls.issuer and CERTIFICATE not in served:
        return Ways(lack=_needs("routing.tls.issuer", CERTIFICATE))
    if lack := _out_of_reach(routing, api):
        return Ways(lack=lack)
    return Ways(_route(routing, api, name, settings), _without_affinity(routing, api))


def _api(routing: Routing, served: frozenset[str]) -> RouteApi | None:
    """By which API a route is made, None where the cluster has none of those that may be."""
    if routing.api in ("istio", "gatewayAPI"):
        order = [routing.api]
    elif _is_for_gateway_api(routing):
        order = ["gatewayAPI", "istio"]
    else:
        order = ["istio", "gatewayAPI"]
    return next((api for api in order if KINDS[api] in served), None)


def _is_for_gateway_api(routing: Routing) -> bool:
    """Whether it says what only a gateway of Gateway API has, whose pods are where its Secret is."""
    issued = routing.tls is not None and routing.tls.issuer is not None
    return routing.gateway.class_name is not None or (issued and not routing.gateway.selector)


def _missing(routing: Routing) -> NoRoute:
    if routing.api == "auto":
        commands = install_commands()
        return NoRoute(
            API_MISSING,
            "This cluster has neither Istio nor Gateway API, so there is no route; the Service "
            f"serves. Install Istio ({commands[VIRTUAL_SERVICE]}) or Gateway API with a controller "
            f"({commands[HTTP_ROUTE]}), or set routing.api to none.",
        )
    return _needs(f"routing.api: {routing.api}", KINDS[routing.api])  # type: ignore[index]


def _needs(field: str, kind: str) -> NoRoute:
    return NoRoute(
        API_MISSING,
        f"{field} needs the kind {kind}, which this cluster does not have, so there is no route; "
        f"the Service serves. Install it ({install_commands()[kind]}), or change {field}.",
    )


def _out_of_reach(routing: Routing, api: RouteApi) -> NoRoute | None:
    """A certificate that the gateway could not read."""
    issued = routing.tls is not None and routing.tls.issuer is not None
    if api == "gatewayAPI" or not issued or routing.gateway.selector:
        return None
    return NoRoute(
        "CertificateOutOfReach",
        "There is no route: Istio reads a certificate where the gateway's pods run, and the one of "
        "routing.tls.issuer is in this namespace. Run a gateway here and name its pods by "
        f"routing.gateway.selector, or install Gateway API ({install_commands()[HTTP_ROUTE]}).",
    )


def _without_affinity(routing: Routing, api: RouteApi) -> NoRoute | None:
    if api == "istio" or routing.affinity is None:
        return None
    return NoRoute(
        "AffinityNeedsIstio",
        "The route is made, without routing.affinity, which Gateway API does not have: install "
        f"Istio ({install_commands()[VIRTUAL_SERVICE]}), or leave routing.affinity out.",
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
    said, tls = routing.gateway, routing.tls
    if said.name is not None:
        pods = said.pods_namespace or said.namespace
        return GatewayPlan(name=said.name, namespace=said.namespace, pods_namespace=pods)
    pods = said.pods_namespace or (settings.istio_namespace if api == "istio" else None)
    secret = issuer = None
    if tls is not None:
        secret = tls.secret_name or f"{name}-tls"
        issuer = (tls.issuer.kind, tls.issuer.name) if tls.issuer else None
    return GatewayPlan(
        pods_namespace=pods,
        class_name=said.class_name or DEFAULT_CLASS,
        selector=tuple((said.selector or DEFAULT_SELECTOR).items()),
        secret=secret,
        issuer=issuer,
    )
