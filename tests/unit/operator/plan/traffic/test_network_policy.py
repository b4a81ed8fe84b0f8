"""Allowed ingress and egress of the pods of a model."""

from typing import Any

import pytest

from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.traffic.network_policy import Destination, destinations
from tests.support.operator.resources import R1, SETTINGS
from tests.unit.operator.render.test_children import made

OPERATOR = Settings("image", namespace="deepseek-system", monitoring_namespace="monitoring")
DNS = {53, 5353}


def policy(settings: Settings = SETTINGS, **spec: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = made(settings, **spec)["NetworkPolicy"]["spec"]
    return manifest


def namespaces(policy: dict[str, Any]) -> list[str]:
    (rule,) = policy["ingress"]
    return [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in rule["from"]
        if "namespaceSelector" in peer
    ]


def beside_dns(policy: dict[str, Any]) -> list[dict[str, Any]]:
    first, *others = policy["egress"]
    assert {port["port"] for port in first["ports"]} == DNS
    assert "to" not in first
    return others


def test_other_traffic_is_denied_in_both_directions() -> None:
    assert policy()["policyTypes"] == ["Ingress", "Egress"]
    assert policy()["podSelector"] == {"matchLabels": {"deepseek-operator.io/name": "r1"}}


def test_pods_of_the_own_namespace_reach_only_the_api() -> None:
    (rule,) = policy()["ingress"]
    assert rule == {
        "ports": [{"port": 8000, "protocol": "TCP"}],
        "from": [{"podSelector": {}}],
    }


def test_listed_namespaces_and_the_operator_are_admitted() -> None:
    security = {"allowFrom": [{"namespace": "apps"}, {"namespace": "apps"}, {"namespace": "chat"}]}
    assert namespaces(policy(OPERATOR, security=security)) == ["apps", "chat", "deepseek-system"]


def test_monitoring_is_admitted_only_with_a_pod_monitor() -> None:
    watched = {"observability": {"podMonitor": True}}
    served = frozenset({"PodMonitor"})
    assert namespaces(made(OPERATOR, served, **watched)["NetworkPolicy"]["spec"]) == [
        "deepseek-system",
        "monitoring",
    ]
    assert namespaces(policy(OPERATOR)) == ["deepseek-system"]


def test_hub_downloads_need_https() -> None:
    assert beside_dns(policy()) == [{"ports": [{"port": 443, "protocol": "TCP"}]}]


@pytest.mark.parametrize("source", [{"hostPath": {"path": "/m"}}, {"pvc": {"claimName": "m"}}])
def test_weights_on_a_volume_need_only_dns(source: dict[str, Any]) -> None:
    assert beside_dns(policy(model={"id": "tiny", "source": source})) == []


def test_mirror_in_the_cluster_is_reachable_on_its_pods_port() -> None:
    """A policy sees the pod's port, not the Service's."""
    source = {"huggingFace": {"endpoint": "http://hub.models.svc"}}
    assert beside_dns(policy(model={"id": R1, "source": source})) == [
        {"ports": [{"port": 80, "protocol": "TCP"}]},
        {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]},
    ]


def test_proxy_is_reachable() -> None:
    env = [
        {"name": "https_proxy", "value": "http://proxy.example.com:3128"},
        {"name": "NO_PROXY", "value": "http://elsewhere.example.com:1"},
        {"name": "HTTP_PROXY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
    ]
    template = {"spec": {"containers": [{"name": "server", "env": env}]}}
    rules = beside_dns(policy(podTemplate=template))
    assert [port["port"] for rule in rules for port in rule["ports"]] == [443, 3128]


@pytest.mark.parametrize(
    ("url", "port", "namespace"),
    [
        ("https://huggingface.co", 443, None),
        ("https://hub.example.com", 443, None),
        ("https://hub.example.com:8443/path", 8443, None),
        ("http://10.0.0.7:8080", 8080, None),
        ("http://[fd00::1]:8080", 8080, None),
        ("http://[fd00::1]", 80, None),
        ("http://hub", 80, "apps"),
        ("http://hub.models:8080", 8080, "models"),
        ("http://hub.models.svc.cluster.local.", 80, "models"),
        ("http://user:word@hub.example.com", 80, None),
        ("proxy.example.com:3128", 3128, None),
        ("http://hub.example.com:99999", 80, None),
        ("http://", 80, None),
    ],
)
def test_destinations_of_a_url(url: str, port: int, namespace: str | None) -> None:
    expected = [Destination(port=port)]
    if namespace:
        expected.append(Destination(namespace=namespace))
    assert destinations([url], "apps") == tuple(expected)
