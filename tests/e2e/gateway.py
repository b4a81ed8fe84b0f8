"""A gateway that tests ask models through, and how a request to it looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.cluster.kubectl import kubectl
from tests.cluster.target import Target
from tests.e2e.probes import policy
from tests.kube import Kube, Object, eventually, namespace_name

NAME = "public"
# Istio's label of the pods that it makes for a Gateway of Gateway API.
SELECTOR = {"gateway.networking.k8s.io/gateway-name": NAME}
# From an object in the API until every gateway and sidecar has heard of it, on a busy machine.
PATIENCE = 60.0


def gateway() -> Object:
    """A Gateway of Gateway API to which every namespace may attach routes."""
    everybody = {"namespaces": {"from": "All"}}
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": everybody}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        # There is nobody here who gives out addresses for Services of type LoadBalancer.
        "metadata": {
            "name": NAME,
            "annotations": {"networking.istio.io/service-type": "ClusterIP"},
        },
        "spec": {"gatewayClassName": "istio", "listeners": [listener]},
    }


def istio_gateway() -> Object:
    """A Gateway of Istio's API that configures the same pods."""
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": NAME},
        "spec": {"selector": SELECTOR, "servers": [server]},
    }


def way_to_istiod(kube: Kube) -> Object:
    """Lets pods at istiod, which is no pod here: elsewhere the model's own policy does it."""
    slices = json.loads(
        kubectl(kube.target, "--namespace", "istio-system", "get", "endpointslices", "-o", "json")
    )
    address = slices["items"][0]["endpoints"][0]["addresses"][0]
    egress = [{"to": [{"ipBlock": {"cidr": f"{address}/32"}}]}]
    return policy("istiod", {}, policyTypes=["Egress"], egress=egress)


@contextmanager
def namespace_with_gateway(mesh: Target, word: str) -> Iterator[Kube]:
    """A namespace with a gateway, from which pods reach istiod."""
    kube = Kube(mesh, namespace_name(word))
    kubectl(mesh, "create", "namespace", kube.namespace)
    kube.apply(gateway(), istio_gateway(), way_to_istiod(kube))
    yield kube
    kubectl(mesh, "delete", "namespace", kube.namespace, "--wait=false")


def address_of(kube: Kube) -> str:
    """Where the gateway of a namespace answers, once it does."""
    kube.run("rollout", "status", f"deployment/{NAME}-istio", "--timeout=120s")
    found = kube.get("service", f"{NAME}-istio")
    assert found is not None
    return str(found["spec"]["clusterIP"])


def asked(address: str, host: str, path: str, **arguments: Any) -> httpx.Response:
    """What a client outside the cluster hears."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        method = "POST" if "json" in arguments else "GET"
        url = f"http://{address}{path}"
        return client.request(method, url, headers={"Host": host}, **arguments)


def reaches(address: str, host: str, status: int = 200) -> None:
    """Wait until the gateway answers for a host as it shall."""
    eventually(
        f"{host} answers {status}",
        lambda: asked(address, host, "/v1/models").status_code == status,
        PATIENCE,
    )
