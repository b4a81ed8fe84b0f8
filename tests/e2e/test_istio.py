"""Istio in the embedded cluster routes and authorizes requests like any other Istio."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from math import sqrt
from typing import Any

import httpx
import pytest

from hack.cluster.target import Target
from hack.cluster.toolchain import build
from tests.support.e2e.gateway import INJECTED, wait_for_gateway
from tests.support.e2e.probe_image import push_probe
from tests.support.e2e.probes import ask, probe, service, wait_ready
from tests.support.kube import Kube, Object, eventually, new_namespace

# Istio takes minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("mesh")]

FRIEND, OTHER, OUTSIDER = "friend", "other", "outsider"
OLD, NEW = "old", "new"
SHOP = "http://shop"
DENIED = "403 RBAC: access denied"
# Seconds until every sidecar has received a change of an object, on a busy machine.
PATIENCE = 60.0
GATEWAY = "gateway.networking.k8s.io/v1"
NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"


@pytest.fixture(scope="module")
def kube(cluster: Target) -> Iterator[Kube]:
    """Two servers behind one Service, two clients in the mesh and one outside it."""
    with new_namespace(cluster, "istio", INJECTED) as kube:
        image = push_probe(cluster)
        for server in (OLD, NEW):
            kube.apply(*probe(server, image, app="shop"), service(server, probe=server))
        for client in (FRIEND, OTHER):
            kube.apply(*probe(client, image))
        kube.apply(*probe(OUTSIDER, image, **{"sidecar.istio.io/inject": "false"}))
        kube.apply(service("shop", app="shop"))
        wait_ready(kube, OLD, NEW, FRIEND, OTHER, OUTSIDER)
        yield kube


@pytest.fixture(autouse=True)
def nothing_left(kube: Kube) -> Iterator[None]:
    yield
    kinds = "peerauthentications,authorizationpolicies,virtualservices,gateways.networking.istio.io"
    kube.run("delete", kinds, "--all")


def thing(api: str, kind: str, name: str, **spec: Any) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def answer(kube: Kube, client: str, url: str, *headers: str) -> str:
    (line,) = ask(kube, client, url, *headers)
    return line


def wait_for_answer(kube: Kube, client: str, url: str, expected: str, *headers: str) -> None:
    """Wait until a client receives the expected response, which takes until sidecars are updated."""
    eventually(
        f"{client} receives {expected!r} from {url}",
        lambda: answer(kube, client, url, *headers) == expected,
        PATIENCE,
    )


def test_pods_of_a_labelled_namespace_get_a_native_sidecar(kube: Kube) -> None:
    pod = kube.get("pod", FRIEND)
    assert pod is not None
    inits = {container["name"]: container for container in pod["spec"]["initContainers"]}
    assert list(inits) == ["istio-init", "istio-proxy"]
    assert inits["istio-proxy"]["restartPolicy"] == "Always"
    outside = kube.get("pod", OUTSIDER)
    assert outside is not None
    assert "initContainers" not in outside["spec"]


def test_strict_mtls_refuses_a_client_without_a_sidecar(kube: Kube) -> None:
    wait_for_answer(kube, OUTSIDER, "http://old", "200 old")
    kube.apply(thing(SECURITY, "PeerAuthentication", "default", mtls={"mode": "STRICT"}))
    wait_for_answer(kube, OUTSIDER, "http://old", "failed")
    assert answer(kube, OUTSIDER, "http://new") == "failed"
    assert answer(kube, FRIEND, "http://old") == "200 old"


def test_an_authorization_policy_distinguishes_clients_by_service_account(kube: Kube) -> None:
    principal = f"cluster.local/ns/{kube.namespace}/sa/{FRIEND}"
    rules = [{"from": [{"source": {"principals": [principal]}}]}]
    selector = {"matchLabels": {"probe": OLD}}
    kube.apply(thing(SECURITY, "AuthorizationPolicy", "friends", selector=selector, rules=rules))
    wait_for_answer(kube, OTHER, "http://old", DENIED)
    assert answer(kube, OUTSIDER, "http://old") == DENIED
    assert answer(kube, FRIEND, "http://old") == "200 old"
    assert answer(kube, OTHER, "http://new") == "200 new"


def test_a_virtual_service_splits_requests_by_weight(kube: Kube) -> None:
    count, share = 500, 0.8
    routes = [
        {"destination": {"host": OLD}, "weight": 80},
        {"destination": {"host": NEW}, "weight": 20},
    ]
    split = thing(NETWORKING, "VirtualService", "shop", hosts=["shop"], http=[{"route": routes}])
    kube.apply(split)
    # Without the VirtualService each gets half of the requests.
    bound = 5 * sqrt(count * share * (1 - share))

    def split_is_seen() -> Counter[str]:
        seen = ask(kube, FRIEND, SHOP, count=count)
        assert set(seen) == {"200 old", "200 new"}
        return seen if abs(seen["200 old"] - count * share) < bound else Counter()

    eventually(
        f"{share:.0%} of requests, give or take {bound:.0f} of {count}", split_is_seen, PATIENCE
    )
    assert split_is_seen()


def test_a_virtual_service_routes_by_header(kube: Kube) -> None:
    wanted = [{"headers": {"x-canary": {"exact": "yes"}}}]
    http = [
        {"match": wanted, "route": [{"destination": {"host": NEW}}]},
        {"route": [{"destination": {"host": OLD}}]},
    ]
    kube.apply(thing(NETWORKING, "VirtualService", "shop", hosts=["shop"], http=http))
    eventually(
        "all requests reach the old server", lambda: split(kube) == {"200 old": 20}, PATIENCE
    )
    assert split(kube, "x-canary: yes") == {"200 new": 20}
    assert split(kube, "x-canary: no") == {"200 old": 20}


def split(kube: Kube, *headers: str) -> Counter[str]:
    return ask(kube, FRIEND, SHOP, *headers, count=20)


@pytest.fixture(scope="module")
def gateway(kube: Kube) -> str:
    """Address of a Gateway of Gateway API, deployed by Istio."""
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    manifest = thing(GATEWAY, "Gateway", "gw", gatewayClassName="istio", listeners=[listener])
    # No controller here assigns addresses to Services of type LoadBalancer.
    manifest["metadata"]["annotations"] = {"networking.istio.io/service-type": "ClusterIP"}
    kube.apply(manifest)
    kube.run(
        "wait", "--for=condition=Programmed", "gateways.gateway.networking.k8s.io/gw",
        "--timeout=60s",
    )  # fmt: skip
    return wait_for_gateway(kube, "gw")


def through(address: str, host: str) -> str:
    """Send a request to a gateway from outside the cluster; return status and body, or 'failed'."""
    with httpx.Client(trust_env=False) as client:
        try:
            response = client.get(f"http://{address}/", headers={"Host": host})
        except httpx.TransportError:
            # A gateway does not listen until a route is bound to it.
            return "failed"
    return f"{response.status_code} {response.text.strip()}".strip()


def test_an_http_route_connects_a_gateway_to_the_mesh(kube: Kube, gateway: str) -> None:
    # The gateway is part of the mesh: STRICT mTLS accepts its certificate.
    kube.apply(thing(SECURITY, "PeerAuthentication", "default", mtls={"mode": "STRICT"}))
    rules = [{"backendRefs": [{"name": NEW, "port": 80}]}]
    route = thing(
        GATEWAY,
        "HTTPRoute",
        "shop",
        parentRefs=[{"name": "gw"}],
        hostnames=["shop.example.com"],
        rules=rules,
    )
    kube.apply(route)
    try:
        eventually(
            "the route works", lambda: through(gateway, "shop.example.com") == "200 new", PATIENCE
        )
        assert through(gateway, "other.example.com") == "404"
    finally:
        kube.run("delete", "httproute", "shop")


@pytest.fixture(scope="module")
def ingress(kube: Kube) -> str:
    """Address of a gateway that Istio's own chart has deployed."""
    chart = build(["istio"])["istio"] / "files/manifests/charts/gateway"
    # The chart's default requests are those of a busy gateway.
    values = {"service": {"type": "ClusterIP"}, "autoscaling": {"enabled": False},
              "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}}}  # fmt: skip
    rendered = subprocess.run(
        [
            kube.target.helm,
            "template",
            "ingress",
            chart,
            "--namespace",
            kube.namespace,
            "--values",
            "-",
        ],
        input=json.dumps(values),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kube.run("apply", "--filename", "-", text=rendered)
    kube.run("rollout", "status", "deployment/ingress", "--timeout=120s")
    found = kube.get("service", "ingress")
    assert found is not None
    return str(found["spec"]["clusterIP"])


def test_an_istio_gateway_can_select_pods_of_a_gateway_api_gateway(
    kube: Kube, gateway: str
) -> None:
    check_classic(kube, gateway, {"gateway.networking.k8s.io/gateway-name": "gw"})


def test_an_istio_gateway_can_select_pods_of_istios_chart(kube: Kube, ingress: str) -> None:
    check_classic(kube, ingress, {"istio": "ingress"})


def check_classic(kube: Kube, address: str, selector: dict[str, str]) -> None:
    """Bind a Gateway of Istio's API to pods, and send requests through it."""
    hosts = ["old.example.com"]
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    servers = [{"port": port, "hosts": hosts}]
    http = [{"route": [{"destination": {"host": OLD}}]}]
    kube.apply(
        thing(NETWORKING, "Gateway", "own", selector=selector, servers=servers),
        thing(NETWORKING, "VirtualService", "old", hosts=hosts, gateways=["own"], http=http),
    )
    eventually(
        "the route works", lambda: through(address, "old.example.com") == "200 old", PATIENCE
    )
    assert through(address, "shop.example.com") == "404"
