"""A gateway that tests ask models through, and how a request to it looks."""

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
# Istio's label of the pods that it makes for a Gateway of Gateway API.
SELECTOR = {"gateway.networking.k8s.io/gateway-name": NAME}
# The operator's label of the pods of a model.
MODEL_LABEL = f"{API_VERSION.partition('/')[0]}/name"
# Pods of a namespace with this label get sidecars.
INJECTED = {"istio-injection": "enabled"}
# From an object in the API until every gateway and sidecar has heard of it, on a busy machine.
PATIENCE = 60.0


def gateway() -> Object:
    """A Gateway of Gateway API to which every namespace may attach routes."""
    all_namespaces = {"namespaces": {"from": "All"}}
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": all_namespaces}
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
    """A policy that lets models reach istiod, which is no pod here.

    Elsewhere the model's own policy allows it. Pods without any egress policy, such as a gateway,
    must stay without one: they would reach nothing but istiod.
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
    """A namespace with a gateway, from which pods reach istiod."""
    with new_namespace(mesh, word) as kube:
        kube.apply(gateway(), istio_gateway(), way_to_istiod(kube))
        yield kube


def address_of(kube: Kube) -> str:
    """Where the gateway of a namespace answers, once it does."""
    return made_by_istio(kube, NAME)


def made_by_istio(kube: Kube, name: str) -> str:
    """The address of the pods that Istio makes for a Gateway of Gateway API, once they are ready."""
    # `rollout status` fails at once where Istio has not made the Deployment yet.
    eventually(f"a Deployment of Gateway {name}", lambda: kube.get("deployment", f"{name}-istio"))
    kube.run("rollout", "status", f"deployment/{name}-istio", "--timeout=120s")
    found = kube.get("service", f"{name}-istio")
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
