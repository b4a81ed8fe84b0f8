"""Objects of spec.routing by API, and the condition RoutesReady."""

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.kinds import GATEWAY, HTTP_ROUTE, VIRTUAL_SERVICE, kind_of
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status.conditions import condition
from deepseek_operator.plan.traffic.routing import Backend
from deepseek_operator.render.children import children
from tests.support.operator.resources import NOW, SETTINGS, resource

ISTIO = frozenset({"VirtualService", "DestinationRule", "IstioGateway", "AuthorizationPolicy"})
GATEWAY_API = frozenset({"HTTPRoute", "Gateway"})
CERT_MANAGER = frozenset({"Certificate"})
HOST = "v3.example.com"
# The kinds of objects of a route.
KINDS = ("VirtualService", "DestinationRule", "Gateway", "HTTPRoute", "Certificate")

Manifest = dict[str, Any]


def decided(
    served: frozenset[str] = ISTIO, settings: Settings = SETTINGS, **routing: Any
) -> DesiredState:
    body = resource(routing={"hosts": [HOST], **routing})
    decision = decide(body, settings, Observed(served=served))
    assert isinstance(decision, DesiredState)
    return decision


def made(desired: DesiredState) -> list[Manifest]:
    return [manifest for manifest in children(desired) if manifest["kind"] in KINDS]


def one(manifests: list[Manifest], kind: str, name: str = "r1") -> Manifest:
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    spec: Manifest = found["spec"]
    return spec


def verdict(desired: DesiredState, route_conditions: Any = None) -> Manifest:
    body = resource()
    observed = Observed(route_conditions=route_conditions or {})
    return condition(report(body, desired, observed, NOW).status, "RoutesReady")


def test_no_route_and_no_condition_without_routing() -> None:
    desired = decide(resource(), SETTINGS, Observed(served=ISTIO | GATEWAY_API))
    assert isinstance(desired, DesiredState)
    assert made(desired) == []
    assert verdict(desired) == {}
    assert desired.endpoint == "http://r1.apps.svc"
    assert made(decided(api="none")) == []
    assert verdict(decided(api="none")) == {}


def test_istio_routes_requests_of_gateway_and_mesh() -> None:
    manifests = made(decided())
    assert {(m["kind"], m["apiVersion"]) for m in manifests} == {
        ("Gateway", "networking.istio.io/v1"),
        ("DestinationRule", "networking.istio.io/v1"),
        ("VirtualService", "networking.istio.io/v1"),
    }
    outside, inside = one(manifests, "VirtualService"), one(manifests, "VirtualService", "r1.mesh")
    assert (outside["hosts"], outside["gateways"]) == ([HOST], ["r1"])
    assert outside["http"][0]["match"] == [{"uri": {"prefix": "/v1/"}}]
    assert "rewrite" not in outside["http"][0]
    assert (inside["hosts"], inside["gateways"]) == (["r1"], ["mesh"])
    assert "match" not in inside["http"][0]
    for part in (outside, inside):
        assert part["http"][0]["route"] == [
            {"destination": {"host": "r1", "port": {"number": 80}}, "weight": 100}
        ]


def test_streams_have_no_timeout_and_only_failed_connections_are_retried() -> None:
    manifests = made(decided())
    for name in ("r1", "r1.mesh"):
        (http,) = one(manifests, "VirtualService", name)["http"]
        assert "timeout" not in http, "Istio refuses 0s, and unset means no timeout"
        assert http["retries"] == {"attempts": 2, "retryOn": "connect-failure,refused-stream"}
    (rule,) = one(made(decided(GATEWAY_API)), "HTTPRoute")["rules"]
    assert rule["timeouts"] == {"request": "0s"}
    assert "retry" not in rule


def test_overloaded_replicas_are_not_ejected() -> None:
    policy = one(made(decided()), "DestinationRule")["trafficPolicy"]
    assert policy["outlierDetection"]["consecutive5xxErrors"] == 0, "not Envoy's default, 5"
    assert policy["outlierDetection"]["consecutiveGatewayErrors"] == 5
    bounds = policy["connectionPool"]["http"].keys() | policy["connectionPool"]["tcp"].keys()
    assert bounds == {"idleTimeout", "connectTimeout", "tcpKeepalive"}, "no bound on requests"


def test_load_balancing_by_least_requests_or_by_header() -> None:
    balancer = one(made(decided()), "DestinationRule")["trafficPolicy"]["loadBalancer"]
    assert balancer["simple"] == "LEAST_REQUEST"
    by_session = made(decided(affinity={"header": "x-session-id"}))
    balancer = one(by_session, "DestinationRule")["trafficPolicy"]["loadBalancer"]
    assert balancer["consistentHash"] == {"httpHeaderName": "x-session-id"}
    assert "simple" not in balancer


def test_path_prefix_is_stripped_and_headers_match() -> None:
    item = {"path": "/team/v3", "headers": [{"name": "X-Model", "value": "v3"}]}
    (http,) = one(made(decided(**item)), "VirtualService")["http"]
    assert http["match"] == [
        {"uri": {"prefix": "/team/v3/v1/"}, "headers": {"x-model": {"exact": "v3"}}}
    ]
    assert http["rewrite"] == {"uri": "/v1/"}
    (rule,) = one(made(decided(GATEWAY_API, **item)), "HTTPRoute")["rules"]
    assert rule["matches"] == [
        {
            "path": {"type": "PathPrefix", "value": "/team/v3/v1"},
            "headers": [{"type": "Exact", "name": "x-model", "value": "v3"}],
        }
    ]
    assert rule["filters"] == [
        {
            "type": "URLRewrite",
            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}},
        }
    ]


def test_requests_are_split_by_weight() -> None:
    for served in (ISTIO, GATEWAY_API):
        desired = decided(served)
        assert desired.routing
        assert desired.routing.route
        assert desired.routing.route.backends == (Backend("r1", 100),)
        shares = (Backend("r1", 95), Backend("r1-canary", 5))
        route = replace(desired.routing.route, backends=shares)
        shared = replace(desired, routing=replace(desired.routing, route=route))
        manifests = made(shared)
        if served is ISTIO:
            for name in ("r1", "r1.mesh"):
                (http,) = one(manifests, "VirtualService", name)["http"]
                assert [
                    (part["destination"]["host"], part["weight"]) for part in http["route"]
                ] == [("r1", 95), ("r1-canary", 5)]
            for backend in shares:
                assert one(manifests, "DestinationRule", backend.service)["host"] == backend.service
        else:
            (rule,) = one(manifests, "HTTPRoute")["rules"]
            assert [(part["name"], part["weight"]) for part in rule["backendRefs"]] == [
                ("r1", 95),
                ("r1-canary", 5),
            ]


def test_gateway_api_creates_a_gateway() -> None:
    manifests = made(decided(GATEWAY_API, gateway={"className": "cilium"}))
    gateway = one(manifests, "Gateway")
    assert gateway["gatewayClassName"] == "cilium"
    (listener,) = gateway["listeners"]
    assert (listener["port"], listener["protocol"]) == (80, "HTTP")
    assert one(manifests, "HTTPRoute")["parentRefs"] == [{"name": "r1"}]
    assert one(manifests, "HTTPRoute")["hostnames"] == [HOST]


def test_existing_gateway_is_used() -> None:
    item = {"gateway": {"name": "public", "namespace": "gateways"}}
    manifests = made(decided(**item))
    assert [m["kind"] for m in manifests if m["kind"] == "Gateway"] == []
    assert one(manifests, "VirtualService")["gateways"] == ["gateways/public"]
    manifests = made(decided(GATEWAY_API, **item))
    assert [m["kind"] for m in manifests] == ["HTTPRoute"]
    assert one(manifests, "HTTPRoute")["parentRefs"] == [
        {"name": "public", "namespace": "gateways"}
    ]


@pytest.mark.parametrize(
    ("routing", "url"),
    [
        ({}, f"http://{HOST}"),
        ({"tls": {"secretName": "c"}, "path": "/v3"}, f"https://{HOST}/v3"),
        ({"gateway": {"name": "public"}}, f"https://{HOST}"),
        ({"gateway": {"name": "public", "protocol": "http"}}, f"http://{HOST}"),
    ],
)
def test_endpoint_is_the_url_of_the_route(routing: dict[str, Any], url: str) -> None:
    for served in (ISTIO, GATEWAY_API):
        desired = decided(served, **routing)
        assert report(resource(), desired, Observed(), NOW).status["endpoint"] == url


def test_tls_by_a_secret() -> None:
    item = {"tls": {"secretName": "v3-cert"}}
    (server,) = one(made(decided(**item)), "Gateway")["servers"]
    assert server["port"]["number"] == 443
    assert server["tls"]["credentialName"] == "v3-cert"
    (listener,) = one(made(decided(GATEWAY_API, **item)), "Gateway")["listeners"]
    assert (listener["port"], listener["protocol"]) == (443, "HTTPS")
    assert listener["tls"]["certificateRefs"] == [{"name": "v3-cert"}]


def test_tls_by_cert_manager_needs_a_readable_certificate() -> None:
    item = {"tls": {"issuer": {"name": "letsencrypt"}}}
    manifests = made(decided(ISTIO | GATEWAY_API | CERT_MANAGER, **item))
    assert one(manifests, "Certificate") == {
        "secretName": "r1-tls",
        "dnsNames": [HOST],
        "issuerRef": {
            "kind": "ClusterIssuer",
            "name": "letsencrypt",
            "group": "cert-manager.io",
        },
    }
    (listener,) = one(manifests, "Gateway")["listeners"]
    assert listener["tls"]["certificateRefs"] == [{"name": "r1-tls"}]

    without = decided(ISTIO | GATEWAY_API, **item)
    assert made(without) == []
    assert (verdict(without)["status"], verdict(without)["reason"]) == ("False", "ApiMissing")
    assert "helm install cert-manager" in verdict(without)["message"]

    unreachable = decided(ISTIO | CERT_MANAGER, **item)
    assert made(unreachable) == []
    assert verdict(unreachable)["reason"] == "CertificateOutOfReach"
    here = decided(ISTIO | CERT_MANAGER, **item, gateway={"selector": {"app": "gw"}})
    assert one(made(here), "Gateway")["selector"] == {"app": "gw"}
    assert one(made(here), "Certificate")["secretName"] == "r1-tls"


def test_auto_prefers_istio_then_gateway_api() -> None:
    assert decided(ISTIO | GATEWAY_API).routing.route.api == "istio"  # type: ignore[union-attr]
    assert decided(GATEWAY_API).routing.route.api == "gatewayAPI"  # type: ignore[union-attr]
    by_class = decided(ISTIO | GATEWAY_API, gateway={"className": "cilium"})
    assert by_class.routing.route.api == "gatewayAPI"  # type: ignore[union-attr]
    none = decided(frozenset())
    assert made(none) == []
    item = verdict(none)
    assert (item["status"], item["reason"]) == ("False", "ApiMissing")
    assert "istioctl install" in item["message"]
    assert "kubectl apply" in item["message"]
    assert none.endpoint == "http://r1.apps.svc"


@pytest.mark.parametrize(
    ("api", "there", "missing"),
    [("istio", GATEWAY_API, "VirtualService"), ("gatewayAPI", ISTIO, "HTTPRoute")],
)
def test_named_api_is_not_replaced_by_another(
    api: str, there: frozenset[str], missing: str
) -> None:
    desired = decided(there, api=api)
    assert made(desired) == []
    assert verdict(desired)["reason"] == "ApiMissing"
    assert missing in verdict(desired)["message"]


def test_affinity_without_istio_is_dropped_and_reported() -> None:
    desired = decided(GATEWAY_API, affinity={"header": "x-session-id"})
    assert one(made(desired), "HTTPRoute")
    assert verdict(desired, accepted())["reason"] == "AffinityNeedsIstio"


def conditions_of(kind: str, *conditions: tuple[str, str, str]) -> tuple[Manifest, ...]:
    return tuple(
        {"type": name, "status": status, "reason": "Because", "message": message}
        for name, status, message in conditions
    )


def accepted() -> dict[str, Any]:
    return {
        "HTTPRoute": conditions_of(
            "HTTPRoute", ("Accepted", "True", ""), ("ResolvedRefs", "True", "")
        ),
        "Gateway": conditions_of("Gateway", ("Accepted", "True", ""), ("Programmed", "True", "")),
    }


def test_condition_reports_the_controllers_conditions() -> None:
    desired = decided(GATEWAY_API)
    waiting = verdict(desired)
    assert (waiting["status"], waiting["reason"]) == ("False", "WaitsForController")
    assert "GatewayClass istio" in waiting["message"]
    done = verdict(desired, accepted())
    assert (done["status"], done["reason"]) == ("True", "Routed")
    assert f"{HOST}/v1 routes to the model" in done["message"]
    refused = accepted() | {
        "HTTPRoute": conditions_of("HTTPRoute", ("Accepted", "False", "No matching hostname"))
    }
    assert verdict(desired, refused)["reason"] == "Because"
    assert "No matching hostname" in verdict(desired, refused)["message"]
    given = decided(GATEWAY_API, gateway={"name": "public", "namespace": "gateways"})
    assert "Gateway public in namespace gateways" in verdict(given)["message"]

    assert verdict(decided())["status"] == "True", "Istio sets no conditions"
    issued = decided(GATEWAY_API | CERT_MANAGER, tls={"issuer": {"name": "ca", "kind": "Issuer"}})
    assert verdict(issued, accepted())["reason"] == "CertificateNotReady"
    ready = {"Certificate": conditions_of("Certificate", ("Ready", "True", ""))}
    assert verdict(issued, accepted() | ready)["status"] == "True"


def test_missing_route_does_not_block_ready() -> None:
    status = report(resource(replicas=0), decided(frozenset()), Observed(), NOW).status
    assert condition(status, "RoutesReady")["status"] == "False"
    assert condition(status, "Accepted")["status"] == "True"
    assert condition(status, "Stalled")["status"] == "False"


def test_condition_is_removed_with_its_field() -> None:
    before = report(resource(), decided(), Observed(), NOW).status
    assert condition(before, "RoutesReady")
    desired = decide(resource(), SETTINGS, Observed())
    after = report(resource(before), desired, Observed(), NOW).status
    assert condition(after, "RoutesReady") == {}


def test_cache_keeps_conditions_without_times() -> None:
    cache, key = Cache(), Key("apps", "r1")
    (manifest,) = (m for m in made(decided(GATEWAY_API)) if m["kind"] == "HTTPRoute")

    def live(version: int, time: str) -> Manifest:
        item = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
        parents = [{"conditions": [{**item, "lastTransitionTime": time}, {"type": "Other"}]}]
        metadata = {**manifest["metadata"], "uid": "h-1", "resourceVersion": str(version)}
        return {**manifest, "metadata": metadata, "status": {"parents": parents}}

    assert cache.put(HTTP_ROUTE, live(1, "a")) == {key}
    assert cache.put(HTTP_ROUTE, live(2, "b")) == set()
    (item,) = cache.observe(key).route_conditions["HTTPRoute"]
    assert (item["type"], item["status"]) == ("Accepted", "True")
    assert kind_of(manifest) is HTTP_ROUTE
    gateways = [m for served in (ISTIO, GATEWAY_API) for m in made(decided(served))]
    groups = {kind_of(m).group for m in gateways if m["kind"] == "Gateway"}
    assert groups == {"networking.istio.io", "gateway.networking.k8s.io"}
    assert kind_of(one_gateway(GATEWAY_API)) is GATEWAY


def one_gateway(served: frozenset[str]) -> Manifest:
    (found,) = (m for m in made(decided(served)) if m["kind"] == "Gateway")
    return found


def test_change_of_a_child_of_another_name_is_noticed() -> None:
    """The VirtualService of the mesh has another name than the resource."""
    cache, key = Cache(), Key("apps", "r1")
    (manifest,) = (m for m in made(decided()) if m["metadata"]["name"] == "r1.mesh")

    def live(version: int, owned: Manifest) -> Manifest:
        record = {"manager": "deepseek-operator", "operation": "Apply", "fieldsV1": owned}
        metadata = {**manifest["metadata"], "uid": "v-1", "resourceVersion": str(version)}
        return {**manifest, "metadata": {**metadata, "managedFields": [record]}}

    cache.put(VIRTUAL_SERVICE, live(1, {"f:spec": {"f:hosts": {}, "f:http": {}}}))
    before = cache.fingerprints(key)
    assert cache.put(VIRTUAL_SERVICE, live(2, {"f:spec": {"f:hosts": {}}})) == {key}
    assert cache.fingerprints(key) != before
