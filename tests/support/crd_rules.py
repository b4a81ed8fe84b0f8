"""Validation rules of the CRD: for each one a spec that breaks it and one that just meets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ID = "deepseek-ai/DeepSeek-V3"
HOSTS = {"hosts": ["v3.example.com"]}
JWT = {"issuer": "https://login.example.com"}
BOTH = {"hostPath": {"path": "/a"}, "pvc": {"claimName": "b"}}

# start of the rule's message: (name and spec that break it, name and spec that just meet it)
RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "metadata.name must start with a letter": ({"name": "r1.v2"}, {"name": "r" + "1" * 51}),
    "model.id must be a hub repository": (
        {"model": {"id": "my-model"}},
        {"model": {"id": "my-model", "source": {"hostPath": {"path": "/models/mine"}}}},
    ),
    "model.source needs exactly one": (
        {"model": {"id": ID, "source": BOTH}},
        {"model": {"id": ID, "source": {"huggingFace": {}}}},
    ),
    "model.source.hostPath.path must not contain '..'": (
        {"model": {"id": ID, "source": {"hostPath": {"path": "/models/../etc"}}}},
        {"model": {"id": ID, "source": {"hostPath": {"path": "/models/v..3"}}}},
    ),
    "model.source.pvc.path must not contain '..'": (
        {"model": {"id": ID, "source": {"pvc": {"claimName": "a", "path": "../b"}}}},
        {"model": {"id": ID, "source": {"pvc": {"claimName": "a"}}}},
    ),
    "replicas and scaling exclude each other": (
        {"replicas": 2, "scaling": {"maxReplicas": 4}},
        {"replicas": 1, "scaling": {"maxReplicas": 4}},
    ),
    "scaling.minReplicas must not be greater": (
        {"scaling": {"minReplicas": 3, "maxReplicas": 2}},
        {"scaling": {"minReplicas": 2, "maxReplicas": 2}},
    ),
    "scaling.target needs requestsPerReplica": (
        {"scaling": {"maxReplicas": 2, "target": {}}},
        {"scaling": {"maxReplicas": 2, "target": {"kvCachePercent": 50}}},
    ),
    "scaling.prometheusAddress is required with scaling.metrics: keda": (
        {"scaling": {"maxReplicas": 2, "metrics": "keda"}},
        {"scaling": {"maxReplicas": 2, "metrics": "keda", "prometheusAddress": "http://p:9090"}},
    ),
    "accelerator needs profile": ({"accelerator": {}}, {"accelerator": {"count": 1}}),
    "accelerator.profile and accelerator.profiles exclude each other": (
        {"accelerator": {"profile": "nvidia-l4", "profiles": ["nvidia-l40s"]}},
        {"accelerator": {"profiles": ["nvidia-l4", "nvidia-l40s"]}},
    ),
    "accelerator.count must equal parallelism.tensor x pipeline x data": (
        {"accelerator": {"count": 8}, "parallelism": {"tensor": 8, "pipeline": 2}},
        {"accelerator": {"count": 16}, "parallelism": {"tensor": 8, "pipeline": 2}},
    ),
    "rollout.promote and rollout.abort name the same": (
        {"rollout": {"promote": "0123456789", "abort": "0123456789"}},
        {"rollout": {"promote": "0123456789", "abort": "abcdef0123"}},
    ),
    "parallelism needs at least one of tensor": (
        {"parallelism": {}},
        {"parallelism": {"tensor": 2}},
    ),
    "parallelism.expert must be 1 or tensor x data": (
        {"parallelism": {"tensor": 8, "data": 2, "expert": 8}},
        {"parallelism": {"tensor": 8, "data": 2, "expert": 16}},
    ),
    "routing.hosts is required": ({"routing": {}}, {"routing": {"api": "none"}}),
    "routing.tls configures a gateway that is created": (
        {"routing": {**HOSTS, "tls": {"secretName": "a"}, "gateway": {"name": "b"}}},
        {"routing": {**HOSTS, "tls": {"secretName": "a"}, "gateway": {"className": "b"}}},
    ),
    "routing.affinity needs Istio's API": (
        {"routing": {**HOSTS, "api": "gatewayAPI", "affinity": {"header": "x-session-id"}}},
        {"routing": {**HOSTS, "affinity": {"header": "x-session-id"}}},
    ),
    "routing.gateway.className is a field of Gateway API": (
        {"routing": {**HOSTS, "api": "istio", "gateway": {"className": "istio"}}},
        {"routing": {**HOSTS, "api": "gatewayAPI", "gateway": {"className": "istio"}}},
    ),
    "routing.gateway.selector is a field of Istio's API": (
        {"routing": {**HOSTS, "api": "gatewayAPI", "gateway": {"selector": {"app": "gw"}}}},
        {"routing": {**HOSTS, "api": "istio", "gateway": {"selector": {"app": "gw"}}}},
    ),
    "routing.tls.issuer with routing.api istio needs": (
        {"routing": {**HOSTS, "api": "istio", "tls": {"issuer": {"name": "ca"}}}},
        {
            "routing": {
                **HOSTS,
                "api": "istio",
                "tls": {"issuer": {"name": "ca"}},
                "gateway": {"selector": {"app": "gw"}},
            }
        },
    ),
    "routing.gateway.namespace and routing.gateway.protocol": (
        {"routing": {**HOSTS, "gateway": {"namespace": "gateways"}}},
        {"routing": {**HOSTS, "gateway": {"namespace": "gateways", "name": "public"}}},
    ),
    "routing.gateway.name refers to an existing gateway": (
        {"routing": {**HOSTS, "gateway": {"name": "public", "className": "istio"}}},
        {"routing": {**HOSTS, "gateway": {"name": "public", "protocol": "http"}}},
    ),
    "routing.tls needs either secretName": (
        {"routing": {**HOSTS, "tls": {}}},
        {"routing": {**HOSTS, "tls": {"issuer": {"name": "ca", "kind": "Issuer"}}}},
    ),
    "security.jwt needs security.mtls: STRICT": (
        {"security": {"jwt": JWT, "mtls": "PERMISSIVE"}},
        {"security": {"jwt": JWT, "mtls": "STRICT"}},
    ),
    "security.allowFrom[].serviceAccounts needs security.mtls: STRICT": (
        {"security": {"allowFrom": [{"namespace": "a", "serviceAccounts": ["b"]}]}},
        {
            "security": {
                "allowFrom": [{"namespace": "a", "serviceAccounts": ["b"]}, {"namespace": "c"}],
                "mtls": "STRICT",
            }
        },
    ),
    "security.jwt and security.apiKeys exclude each other": (
        {"security": {"jwt": JWT, "mtls": "STRICT", "apiKeys": {"secretName": "keys"}}},
        {"security": {"mtls": "STRICT", "apiKeys": {"secretName": "keys"}}},
    ),
}


def rules(node: Any) -> Iterator[dict[str, str]]:
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", [])
        for child in node.values():
            yield from rules(child)
    if isinstance(node, list):
        for child in node:
            yield from rules(child)
