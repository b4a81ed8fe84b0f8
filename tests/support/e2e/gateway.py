"""A gateway for requests to models, and requests through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.support.e2e.probes import policy
from tests.support.kube import API_VERSION, Kube, Object, eventually, new_namespace

NAME = "public"
# Istio's label on the pods that it creates for a Gateway of Gateway API.
SELECTOR = {"gateway.networking.k8s.io/gateway-name": NAME}
# The operator's label on the pods of a model.
MODEL_LABEL = f"{API_VERSION.partition('/')[0]}/name"
# Pods of a namespace with this label get sidecars.
INJECTED = {"istio-injection": "enabled"}
# Seconds until every gateway and sidecar has received a change of an object, on a busy machine.
PATIENCE = 60.0


def gateway() -> Object:
    """Return a Gateway of Gateway API that accepts routes from all namespaces."""
    all_namespaces = {"namespaces": {"from": "All"}}
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": all_namespaces}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        # No controller here assigns addresses to Services of type LoadBalancer.
        "metadata": {
            "name": NAME,
            "annotations": {"networking.istio.io/service-type": "ClusterIP"},
        },
        "spec": {"gatewayClassName": "istio", "listeners": [listener]},
    }


def istio_gateway() -> Object:
    """Return a Gateway of Istio's API that configures the same pods."""
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": NAME},
        "spec": {"selector": SELECTOR, "servers": [server]},
    }


def istiod_policy(kube: Kube) -> Object:
    """Return a NetworkPolicy that allows models to reach istiod, which is not a pod here.

    In other clusters the model's own policy allows it. The policy selects models only: a pod that has
    no egress policy, such as a gateway, could otherwise reach nothing but istiod.
    """
    slices = json.loads(
        kubectl(kube.target, "--namespace", "istio-system", "get", "endpointslices", "-o", "json")
    )
    address = slices["items"][0]["endpoints"][0]["addresses"][0]
    egress = [{"to": [{"ipBlock": {"cidr": f"{address}/32"}}]}]
    models = {"matchExpressions": [{"key": MODEL_LABEL, "operator": "Exists"}]}
    return policy("istiod", {}, podSelector=models, policyTypes=["Egress"], egress=egress)


@contextmanager
def namespace_with_gateway(mesh: Target, word: str) -> Iterator[Kube]:
    """Create a namespace with a gateway, from which pods can reach istiod."""
    with new_namespace(mesh, word) as kube:
        kube.apply(gateway(), istio_gateway(), istiod_policy(kube))
        yield kube


def address_of(kube: Kube) -> str:
    """Wait until the gateway of a namespace is ready, and return its address."""
    return wait_for_gateway(kube, NAME)


def wait_for_gateway(kube: Kube, name: str) -> str:
    """Wait for the pods that Istio creates for a Gateway of Gateway API, and return their address."""
    # `rollout status` fails immediately if Istio has not created the Deployment yet.
    eventually(f"a Deployment of Gateway {name}", lambda: kube.get("deployment", f"{name}-istio"))
    kube.run("rollout", "status", f"deployment/{name}-istio", "--timeout=120s")
    found = kube.get("service", f"{name}-istio")
    assert found is not None
    return str(found["spec"]["clusterIP"])


def request(address: str, host: str, path: str, **arguments: Any) -> httpx.Response:
    """Send a request to a gateway from outside the cluster, and return the response."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        method = "POST" if "json" in arguments else "GET"
        url = f"http://{address}{path}"
        return client.request(method, url, headers={"Host": host}, **arguments)


def wait_until_routed(address: str, host: str, status: int = 200) -> None:
    """Wait until the gateway returns this status for a host."""
    eventually(
        f"{host} returns {status}",
        lambda: request(address, host, "/v1/models").status_code == status,
        PATIENCE,
    )
