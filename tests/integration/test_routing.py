"""Routing and authorization against the real APIs of Istio, Gateway API and cert-manager."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.cluster.kinds import OPTIONAL, kind_of
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.children import children
from hack.cluster.target import Target
from tests.support import route_apis
from tests.support.kube import Audit, Kube, eventually, resource
from tests.support.operator_process import OperatorProcess
from tests.support.route_apis import CERT_MANAGER, GATEWAY_API, ISTIO

HOST = "r1.example.com"
HOSTS = {"hosts": [HOST]}
JWT = {"issuer": "https://login.example.com", "claims": [{"name": "groups", "values": ["ml"]}]}
VIRTUAL_SERVICES = "virtualservices.networking.istio.io"
RULES = "destinationrules.networking.istio.io"
ISTIO_GATEWAYS = "gateways.networking.istio.io"
HTTP_ROUTES = "httproutes.gateway.networking.k8s.io"
GATEWAYS = "gateways.gateway.networking.k8s.io"
CERTIFICATES = "certificates.cert-manager.io"
POLICIES = "authorizationpolicies.security.istio.io"
PEERS = "peerauthentications.security.istio.io"
TOKENS = "requestauthentications.security.istio.io"


@pytest.fixture
def apis(api_server: Target) -> Iterator[Target]:
    """An API server without any of these APIs, before and after the test."""
    yield api_server
    route_apis.remove(api_server, *route_apis.ALL)


def condition_of(kube: Kube, kind: str = "RoutesReady") -> dict[str, Any]:
    return kube.condition("r1", kind)


def status(kube: Kube) -> dict[str, Any]:
    return dict((kube.get("dsd", "r1") or {}).get("status", {}))


def by_operator(entry: dict[str, Any]) -> bool:
    return "kubectl" not in entry["userAgent"]


def answer(kube: Kube, kind: str, name: str, status: dict[str, Any]) -> None:
    """Write the status that a controller would write."""
    patch = ("--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))
    kube.run("patch", kind, name, *patch)


def condition(kind: str, status: str = "True", message: str = "") -> dict[str, Any]:
    times = {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}
    return {"type": kind, "status": status, "reason": kind, "message": message, **times}


def test_a_route_follows_istio_and_its_field_and_is_repaired(
    kube: Kube, operator: OperatorProcess, apis: Target, audit_log: Path
) -> None:
    kube.apply(resource("r1", routing=HOSTS))
    missing = eventually("a verdict", lambda: condition_of(kube))
    assert (missing["status"], missing["reason"]) == ("False", "ApiMissing")
    assert "istioctl install" in missing["message"]
    assert condition_of(kube, "Accepted")["status"] == "True"
    assert condition_of(kube, "Stalled")["status"] == "False"
    eventually("the model is deployed anyway", lambda: kube.get("deployment", "r1"))
    assert status(kube)["endpoint"].startswith("http://r1.")

    route_apis.install(apis, ISTIO)
    eventually("a route", lambda: condition_of(kube)["status"] == "True")
    assert status(kube)["endpoint"] == f"http://{HOST}"
    for kind, name in (
        (VIRTUAL_SERVICES, "r1"),
        (VIRTUAL_SERVICES, "r1.mesh"),
        (RULES, "r1"),
        (ISTIO_GATEWAYS, "r1"),
    ):
        assert kube.get(kind, name), f"{kind} {name}"

    steady = Audit(audit_log, kube.namespace)
    time.sleep(5)
    assert steady.writes(by_operator) == {}, "defaults of the API server look like drift"
    for name in ("r1", "r1.mesh"):
        retry = json.dumps({"spec": {"http": [{"retries": {"attempts": 9, "retryOn": "5xx"}}]}})
        kube.run("patch", VIRTUAL_SERVICES, name, "--type=merge", "--patch", retry)
        eventually(
            f"{name} is repaired",
            lambda name=name: (  # type: ignore[misc]
                (kube.get(VIRTUAL_SERVICES, name) or {})["spec"]["http"][0]["retries"]["attempts"]
                == 2
            ),
            15,
        )
    kube.run("delete", RULES, "r1")
    eventually("the rule is back", lambda: kube.get(RULES, "r1"), 15)

    kube.apply(resource("r1"))
    eventually("no route", lambda: not kube.all(VIRTUAL_SERVICES))
    eventually("no rule", lambda: kube.get(RULES, "r1") is None)
    assert kube.get(ISTIO_GATEWAYS, "r1") is None
    eventually("no condition", lambda: condition_of(kube) == {})
    assert status(kube)["endpoint"].startswith("http://r1.")

    kube.apply(resource("r1", routing=HOSTS))
    eventually("a route again", lambda: condition_of(kube).get("status") == "True")
    route_apis.remove(apis, ISTIO)
    eventually("the API is missing", lambda: condition_of(kube)["reason"] == "ApiMissing")
    assert kube.get("deployment", "r1")
    assert "Traceback" not in operator.log


def test_a_gateway_api_route_reports_the_conditions_of_its_controllers(
    kube: Kube, operator: OperatorProcess, apis: Target
) -> None:
    route_apis.install(apis, GATEWAY_API, CERT_MANAGER)
    tls = {"issuer": {"name": "letsencrypt"}}
    kube.apply(resource("r1", routing={**HOSTS, "path": "/r1", "tls": tls}))
    eventually("a route", lambda: kube.get(HTTP_ROUTES, "r1"))
    eventually("a certificate", lambda: kube.get(CERTIFICATES, "r1"))
    eventually("a wait for it", lambda: condition_of(kube)["reason"] == "CertificateNotReady")
    assert status(kube)["endpoint"] == f"https://{HOST}/r1"

    answer(kube, CERTIFICATES, "r1", {"conditions": [condition("Ready")]})
    eventually(
        "a wait for a controller", lambda: condition_of(kube)["reason"] == "WaitsForController"
    )
    both = [condition("Accepted"), condition("Programmed")]
    answer(kube, GATEWAYS, "r1", {"conditions": both})
    parent = {"parentRef": {"name": "r1"}, "controllerName": "example.com/gateway"}
    refused = [condition("Accepted", "False", "No hostname of it is the listener's")]
    answer(kube, HTTP_ROUTES, "r1", {"parents": [{**parent, "conditions": refused}]})
    eventually("the refusal", lambda: "No hostname" in condition_of(kube)["message"])
    taken = [condition("Accepted"), condition("ResolvedRefs")]
    answer(kube, HTTP_ROUTES, "r1", {"parents": [{**parent, "conditions": taken}]})
    eventually("the route", lambda: condition_of(kube)["status"] == "True")
    assert "Traceback" not in operator.log


def test_authorization_needs_istio(kube: Kube, operator: OperatorProcess, apis: Target) -> None:
    kube.apply(resource("r1", security={"mtls": "STRICT"}))
    eventually("a Deployment", lambda: kube.get("deployment", "r1"))
    eventually(
        "a condition", lambda: condition_of(kube, "TrustReady").get("reason") == "ApiMissing"
    )
    before = (kube.get("deployment", "r1") or {})["spec"]["template"]
    peers = [{"namespace": "chat", "serviceAccounts": ["bot"]}]
    kube.apply(resource("r1", security={"mtls": "STRICT", "jwt": JWT, "allowFrom": peers}))
    eventually(
        "a refusal: tokens would not be checked",
        lambda: condition_of(kube, "Accepted").get("reason") == "ApiMissing",
    )
    route_apis.install(apis, ISTIO)
    eventually("policies", lambda: kube.get(POLICIES, "r1"))
    eventually("mutual TLS", lambda: kube.get(PEERS, "r1"))
    eventually("tokens", lambda: kube.get(TOKENS, "r1"))
    eventually("acceptance", lambda: condition_of(kube, "Accepted").get("status") == "True")
    assert (kube.get("deployment", "r1") or {})["spec"]["template"] == before, "no model reloads"
    kube.apply(resource("r1", security={"mtls": "PERMISSIVE"}))
    eventually("no policy", lambda: kube.get(POLICIES, "r1") is None)
    eventually("no token", lambda: kube.get(TOKENS, "r1") is None)
    assert "Traceback" not in operator.log


GIVEN = {"name": "public", "namespace": "gateways"}
ISSUED = {"tls": {"issuer": {"name": "ca", "kind": "Issuer"}}}
ROUTES: dict[str, dict[str, Any]] = {
    "plain": {},
    "secret": {"tls": {"secretName": "c"}},
    "path and headers": {"path": "/a/b", "headers": [{"name": "X-Model", "value": "v3"}]},
    "given": {"gateway": GIVEN},
    "issued": {**ISSUED, "gateway": {"selector": {"app": "gw"}}},
    "affinity": {"affinity": {"header": "x-session-id"}},
}


@pytest.fixture(scope="module")
def served(api_server: Target) -> Iterator[Target]:
    route_apis.install(api_server, *route_apis.ALL)
    yield api_server
    route_apis.remove(api_server, *route_apis.ALL)


@pytest.mark.parametrize("way", ROUTES)
@pytest.mark.parametrize("without", ["HTTPRoute", "VirtualService"])
def test_the_real_apis_accept_every_form_of_a_route(
    kube: Kube, served: Target, way: str, without: str
) -> None:
    """Their schemas and CEL rules are checked, but not their webhooks."""
    optional = frozenset(kind.called for kind in OPTIONAL) - {without, "PodMonitor"}
    peers = [{"namespace": "chat", "serviceAccounts": ["bot"]}, {"namespace": "jobs"}]
    body = resource(
        "r1",
        routing={**HOSTS, **ROUTES[way]},
        security={"mtls": "STRICT", "jwt": JWT, "allowFrom": peers},
    )
    body["metadata"] |= {"namespace": kube.namespace, "uid": "u-1"}
    decision = decide(body, Settings("server:test"), Observed(served=optional))
    assert isinstance(decision, DesiredState), decision
    made = [item for item in children(decision) if kind_of(item).optional]
    kinds = {item["kind"] for item in made}
    assert kinds >= {"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy"}
    assert kinds >= (
        {"VirtualService", "DestinationRule"} if without == "HTTPRoute" else {"HTTPRoute"}
    )
    text = "\n---\n".join(json.dumps(item) for item in made)
    kube.run("apply", "--server-side", "--dry-run=server", "--filename", "-", text=text)
