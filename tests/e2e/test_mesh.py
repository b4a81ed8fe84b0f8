"""Access to models in a mesh with enforced network policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.support.e2e.gateway import (
    INJECTED,
    NAME,
    address_of,
    gateway,
    istio_gateway,
    istiod_policy,
    request,
    wait_until_routed,
)
from tests.support.e2e.probe_image import push_probe
from tests.support.e2e.probes import ask, probe, wait_ready
from tests.support.e2e.product import Product
from tests.support.kube import Kube, eventually, modest, new_namespace, resource

# Istio takes minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("mesh")]

START = 300.0
PATIENCE = 60.0
QUESTION = {"model": "tiny", "prompt": "Hello", "max_tokens": 8}
WEB, BATCH, OUTSIDER = "web", "batch", "outsider"
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}


@pytest.fixture(scope="module")
def gateways(cluster: Target, product: Product) -> Iterator[Kube]:
    """The namespace of an existing gateway, for both APIs."""
    with new_namespace(cluster, "gateways", INJECTED) as kube:
        kube.apply(gateway(), istio_gateway())
        yield kube


@pytest.fixture(scope="module")
def address(gateways: Kube) -> str:
    return address_of(gateways)


@pytest.fixture(scope="module")
def friends(cluster: Target) -> Iterator[Kube]:
    """A namespace with two accounts in the mesh, and a pod outside it."""
    yield from callers(cluster, "friends")


@pytest.fixture(scope="module")
def strangers(cluster: Target) -> Iterator[Kube]:
    """The same pods in a namespace that no model allows."""
    yield from callers(cluster, "strangers")


def callers(target: Target, name: str) -> Iterator[Kube]:
    image = push_probe(target)
    pods = (
        *probe(WEB, image),
        *probe(BATCH, image),
        *probe(OUTSIDER, image, **NO_SIDECAR),
    )
    with new_namespace(target, name, INJECTED) as kube:
        kube.apply(*pods)
        wait_ready(kube, WEB, BATCH, OUTSIDER)
        yield kube


def model(name: str, models: dict[str, Path], **spec: Any) -> dict[str, Any]:
    source = {"hostPath": {"path": str(models["deepseek-v3"])}}
    served = {"id": "tiny-v3", "servedName": "tiny", "source": source}
    return resource(name, model=served, podTemplate=modest(), **spec)


def reason(kube: Kube, name: str, kind: str) -> str:
    """Return the reason of a condition."""
    return str(kube.condition(name, kind).get("reason", ""))


@pytest.fixture
def other_versions(cluster: Target) -> Iterator[None]:
    """Two nodes, one with an old kubelet and one without a version, as in a mixed cluster."""
    versions = {"old": {"kubeletVersion": "v1.29.9"}, "silent": {}}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"other-{name}"},
            "spec": {"unschedulable": True},
            "status": {"nodeInfo": info},
        }
        for name, info in versions.items()
    ]
    names = [f"node/{node['metadata']['name']}" for node in nodes]
    text = "\n---\n".join(map(json.dumps, nodes))
    kubectl(cluster, "apply", "--server-side", "--filename", "-", text=text)
    yield
    kubectl(cluster, "delete", *names)


def test_a_model_has_a_native_sidecar_whatever_the_versions_of_other_nodes(
    other_versions: None, kube: Kube, product: Product, models: dict[str, Path]
) -> None:
    """Istio by itself uses classic sidecars for all pods of such a cluster."""
    kube.apply(istiod_policy(kube))
    plain = probe(WEB, push_probe(kube.target), **{"sidecar.istio.io/inject": "true"})
    kube.apply(*plain, model("v3", models, security={"mtls": "STRICT"}))
    eventually("ready", lambda: kube.condition("v3").get("status") == "True", START)
    eventually(
        "security is enforced", lambda: reason(kube, "v3", "TrustReady") == "Enforced", PATIENCE
    )
    (pod,) = kube.all("pod", "deepseek-operator.io/name=v3")
    assert "istio-proxy" in names(pod, "initContainers")
    other = kube.get("pod", WEB)
    assert other is not None
    assert "istio-proxy" in names(other, "containers")


def names(pod: dict[str, Any], kind: str) -> list[str]:
    return [container["name"] for container in pod["spec"][kind]]


def test_only_allowed_clients_reach_a_model_and_only_its_api(
    kube: Kube,
    models: dict[str, Path],
    gateways: Kube,
    address: str,
    friends: Kube,
    strangers: Kube,
) -> None:
    kube.apply(istiod_policy(kube))
    allowed = [{"namespace": friends.namespace, "serviceAccounts": [WEB]}]
    through = {"hosts": ["v3.example.com"], "api": "istio"}
    kube.apply(
        model(
            "v3",
            models,
            routing={
                **through,
                "gateway": {"name": NAME, "namespace": gateways.namespace, "protocol": "http"},
            },
            security={"mtls": "STRICT", "allowFrom": allowed},
        )
    )
    eventually("ready", lambda: kube.condition("v3").get("status") == "True", START)
    eventually(
        "security is enforced", lambda: reason(kube, "v3", "TrustReady") == "Enforced", PATIENCE
    )
    assert reason(kube, "v3", "RoutesReady") == "Routed"
    assert kube.get("dsd", "v3")["status"]["endpoint"] == "http://v3.example.com"  # type: ignore[index]

    # From outside the cluster only the API is reachable.
    wait_until_routed(address, "v3.example.com")
    answer = request(address, "v3.example.com", "/v1/completions", json=QUESTION)
    assert answer.json()["usage"]["completion_tokens"] == 8
    for path in ("/metrics", "/health/ready", "/docs", "/v2/models", "/v1/../metrics"):
        assert request(address, "v3.example.com", path).status_code == 404, path
    assert request(address, "other.example.com", "/v1/models").status_code == 404

    # Inside the cluster the sidecar checks certificate, account and path; the network policy
    # blocks all other pods.
    base = f"http://v3.{kube.namespace}"
    (pod,) = kube.all("pod", "deepseek-operator.io/name=v3")
    direct = f"http://{pod['status']['podIP']}:8000"
    denied, cut_off = "403 RBAC: access denied", "failed"

    def response(client: Kube, who: str, path: str, url: str = base) -> str:
        (line,) = ask(client, who, f"{url}{path}")
        return line if not line.startswith("200") else "200"

    eventually(
        "the allowed client reaches the model",
        lambda: response(friends, WEB, "/v1/models") == "200",
        PATIENCE,
    )
    for path in ("/metrics", "/health/ready", "/openapi.json"):
        assert response(friends, WEB, path) == denied, path
    for path in ("/v1/models", "/metrics"):
        assert response(friends, BATCH, path) == denied, path
        assert response(friends, OUTSIDER, path) == cut_off, path
        for who in (WEB, BATCH, OUTSIDER):
            assert "200" not in response(strangers, who, path), (who, path)
    for client, who in ((friends, OUTSIDER), (strangers, OUTSIDER)):
        # Neither the pod's address nor the ports of the sidecar are reachable.
        assert response(client, who, "/v1/models", direct) == cut_off
        for port in (15000, 15006, 15020, 15021, 15090):
            other = direct.replace("8000", str(port))
            assert response(client, who, "/stats/prometheus", other) == cut_off, port
