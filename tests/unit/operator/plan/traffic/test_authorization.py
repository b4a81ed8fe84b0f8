"""Authorization of clients as policies, and the operator's access to pods in the mesh."""

import json
from typing import Any

import pytest

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.state.observed import Observed, PodView
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status.conditions import condition
from deepseek_operator.plan.traffic.pod_endpoints import (
    SERVER_SCRAPE_TARGET,
    SIDECAR_SCRAPE_TARGET,
    scrape_target,
)
from deepseek_operator.render.children import children
from tests.support.operator.resources import NOW, R1, SETTINGS, pod, resource

MESH = frozenset({"AuthorizationPolicy", "DestinationRule"})
OPERATOR = Settings("image", namespace="deepseek-system", monitoring_namespace="monitoring")
JWT = {"issuer": "https://login.example.com", "audiences": ["models"]}

Manifest = dict[str, Any]


def decided(
    served: frozenset[str] = MESH, settings: Settings = SETTINGS, **spec: Any
) -> DesiredState:
    decision = decide(resource(**spec), settings, Observed(served=served))
    assert isinstance(decision, DesiredState), decision
    return decision


def refused(served: frozenset[str] = frozenset(), **spec: Any) -> Refusal:
    decision = decide(resource(**spec), SETTINGS, Observed(served=served))
    assert isinstance(decision, Refusal)
    return decision


def made(*args: Any, **spec: Any) -> dict[str, Manifest]:
    return {manifest["kind"]: manifest for manifest in children(decided(*args, **spec))}


def template(manifests: dict[str, Manifest]) -> Manifest:
    found: Manifest = manifests["Deployment"]["spec"]["template"]
    return found


def verdict(security: dict[str, Any], *pods: PodView, served: frozenset[str] = MESH) -> Manifest:
    body = resource(security=security)
    observed = Observed(pods=pods, served=served)
    decision = decide(body, SETTINGS, observed)
    return condition(report(body, decision, observed, NOW).status, "TrustReady")


def test_without_mtls_no_mesh_objects_are_created() -> None:
    manifests = made()
    assert not any("Authentication" in kind or "Authorization" in kind for kind in manifests)
    assert "sidecar.istio.io/inject" not in template(manifests)["metadata"]["labels"]
    assert verdict({}) == {}


def test_strict_admits_only_own_and_listed_namespaces() -> None:
    peers = [{"namespace": "chat", "serviceAccounts": ["bot", "web"]}, {"namespace": "jobs"}]
    manifests = made(security={"mtls": "STRICT", "allowFrom": peers})
    selector = {"matchLabels": {"deepseek-operator.io/name": "r1"}}
    assert manifests["PeerAuthentication"]["spec"] == {
        "selector": selector,
        "mtls": {"mode": "STRICT"},
    }
    assert "portLevelMtls" not in manifests["PeerAuthentication"]["spec"]
    policy = manifests["AuthorizationPolicy"]["spec"]
    assert (policy["selector"], policy["action"]) == (selector, "ALLOW")
    (rule,) = policy["rules"]
    assert [item["source"] for item in rule["from"]] == [
        {"namespaces": ["apps"]},
        {"principals": ["*/ns/chat/sa/bot", "*/ns/chat/sa/web"]},
        {"namespaces": ["jobs"]},
    ]
    assert rule["to"] == [{"operation": {"paths": ["/v1/*"]}}]
    assert "when" not in rule
    assert "RequestAuthentication" not in manifests


def test_policies_are_applied_before_the_pods() -> None:
    kinds = [manifest["kind"] for manifest in children(decided(security={"mtls": "STRICT"}))]
    for kind in ("PeerAuthentication", "AuthorizationPolicy", "NetworkPolicy"):
        assert kinds.index(kind) < kinds.index("Deployment")


def test_token_is_required_of_all_clients() -> None:
    claims = [{"name": "groups", "values": ["ml", "ops"]}]
    jwt = {**JWT, "jwksUri": "https://login.example.com/keys", "claims": claims}
    peers = [{"namespace": "chat", "serviceAccounts": ["bot"]}]
    manifests = made(security={"mtls": "STRICT", "jwt": jwt, "allowFrom": peers})
    assert manifests["RequestAuthentication"]["spec"]["jwtRules"] == [
        {
            "issuer": "https://login.example.com",
            "jwksUri": "https://login.example.com/keys",
            "audiences": ["models"],
        }
    ]
    (rule,) = manifests["AuthorizationPolicy"]["spec"]["rules"]
    for item in rule["from"]:
        assert item["source"]["requestPrincipals"] == ["https://login.example.com/*"]
    assert rule["when"] == [{"key": "request.auth.claims[groups]", "values": ["ml", "ops"]}]


def test_permissive_admits_clients_outside_the_mesh() -> None:
    manifests = made(security={"mtls": "PERMISSIVE"})
    assert manifests["PeerAuthentication"]["spec"]["mtls"] == {"mode": "PERMISSIVE"}
    assert "AuthorizationPolicy" not in manifests
    assert template(manifests)["metadata"]["labels"]["sidecar.istio.io/inject"] == "true"


def test_gateway_is_admitted() -> None:
    served = MESH | {"VirtualService"}
    security = {"mtls": "STRICT"}
    for gateway, namespace in (
        ({}, "istio-system"),
        ({"name": "public", "namespace": "gateways"}, "gateways"),
        ({"name": "public", "namespace": "gateways", "podsNamespace": "edge"}, "edge"),
    ):
        routing = {"hosts": ["v3.example.com"], "gateway": gateway}
        manifests = made(served, security=security, routing=routing)
        (rule,) = manifests["AuthorizationPolicy"]["spec"]["rules"]
        assert {"source": {"namespaces": [namespace]}} in rule["from"]
        ingress = manifests["NetworkPolicy"]["spec"]["ingress"][0]
        selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        assert {"namespaceSelector": selector} in ingress["from"]


def test_gateway_can_be_admitted_by_its_account_only() -> None:
    peers = [{"namespace": "istio-system", "serviceAccounts": ["ingress"]}]
    manifests = made(
        MESH | {"VirtualService"},
        security={"mtls": "STRICT", "allowFrom": peers},
        routing={"hosts": ["v3.example.com"]},
    )
    (rule,) = manifests["AuthorizationPolicy"]["spec"]["rules"]
    assert [item["source"] for item in rule["from"]] == [
        {"namespaces": ["apps"]},
        {"principals": ["*/ns/istio-system/sa/ingress"]},
    ]


def test_user_sets_the_sidecar_kind_and_operator_its_config() -> None:
    kind, config = "sidecar.istio.io/nativeSidecar", "proxy.istio.io/config"
    annotations = {kind: "false", "prometheus.istio.io/merge-metrics": "false", "team": "search"}
    template_of = {"metadata": {"annotations": annotations}}
    usual, changed = (
        template(made(MESH, security={"mtls": "STRICT"}, **spec))["metadata"]["annotations"]
        for spec in ({}, {"podTemplate": template_of})
    )
    assert (usual[kind], changed[kind]) == ("true", "false")
    assert changed["team"] == "search"
    assert changed["prometheus.istio.io/merge-metrics"] == "true"
    assert changed[config] == usual[config]
    assert json.loads(usual[config])["proxyMetadata"]["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] == "true"


def test_sidecar_drains_as_long_as_the_server() -> None:
    spec = {"security": {"mtls": "STRICT"}, "rollout": {"drainSeconds": 900}}
    annotations = template(made(MESH, **spec))["metadata"]["annotations"]
    assert json.loads(annotations["proxy.istio.io/config"])["drainDuration"] == "905s"


def test_probes_and_metrics_use_the_sidecar_port() -> None:
    manifests = made(MESH | {"PodMonitor"}, OPERATOR, security={"mtls": "STRICT"})
    annotations = template(manifests)["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/rewriteAppHTTPProbers"] == "true"
    assert annotations["prometheus.istio.io/merge-metrics"] == "true"
    assert annotations["prometheus.io/port"] == "8000"
    first, second = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert first["ports"] == [{"port": 8000, "protocol": "TCP"}]
    assert second["ports"] == [{"port": 15020, "protocol": "TCP"}]
    names = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in second["from"]
    ]
    assert names == ["deepseek-system", "monitoring"]
    (endpoint,) = manifests["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/stats/prometheus"
    assert endpoint["relabelings"][0]["regex"] == r"(.+):\d+"
    assert endpoint["relabelings"][0]["replacement"] == "$1:15020"


def test_sidecars_can_reach_the_control_plane() -> None:
    rules = made(security={"mtls": "STRICT"})["NetworkPolicy"]["spec"]["egress"]
    assert {
        "to": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}}}
        ],
        "ports": [{"port": 15012, "protocol": "TCP"}],
    } in rules


def test_endpoints_follow_the_mesh_annotation() -> None:
    bare = {"metadata": {"annotations": {"prometheus.io/path": "/metrics"}}}
    injected = {"metadata": {"annotations": {"prometheus.io/path": "/stats/prometheus"}}}
    assert scrape_target(bare) == scrape_target({"metadata": {}}) == SERVER_SCRAPE_TARGET
    assert scrape_target(injected) == SIDECAR_SCRAPE_TARGET
    assert (SIDECAR_SCRAPE_TARGET.port, SIDECAR_SCRAPE_TARGET.ready) == (
        15020,
        "/app-health/server/readyz",
    )


def test_only_the_leader_of_a_multi_pod_replica_is_in_the_mesh() -> None:
    served = MESH | {"LeaderWorkerSet"}
    group = made(served, security={"mtls": "STRICT"}, parallelism={"tensor": 2})["LeaderWorkerSet"]
    pods = group["spec"]["leaderWorkerTemplate"]
    leader, worker = (pods[name]["metadata"] for name in ("leaderTemplate", "workerTemplate"))
    assert leader["labels"]["sidecar.istio.io/inject"] == "true"
    assert leader["annotations"]["traffic.sidecar.istio.io/includeInboundPorts"] == "8000"
    assert leader["annotations"]["traffic.sidecar.istio.io/includeOutboundIPRanges"] == ""
    assert worker["labels"]["sidecar.istio.io/inject"] == "false"
    assert not any("istio" in name for name in worker.get("annotations", {}))


def test_pods_are_not_replaced_when_the_mesh_is_added_or_removed() -> None:
    security = {"mtls": "STRICT"}
    assert template(made(security=security)) == template(made(frozenset(), security=security))


def test_mesh_clients_close_idle_connections_before_the_server() -> None:
    security = {"mtls": "STRICT"}
    rule = made(security=security)["DestinationRule"]
    assert rule["metadata"]["name"] == rule["spec"]["host"] == "r1"
    assert rule["spec"]["trafficPolicy"]["connectionPool"]["http"] == {"idleTimeout": "4s"}
    assert "DestinationRule" not in made(frozenset({"AuthorizationPolicy"}), security=security)
    assert "DestinationRule" not in made(frozenset({"DestinationRule"}), security=security)
    assert "DestinationRule" not in made()


def test_istio_route_includes_the_destination_rule() -> None:
    served = MESH | {"VirtualService", "HTTPRoute"}
    for api in ("istio", "gatewayAPI"):
        routing = {"api": api, "hosts": ["a.example.com"], "gateway": {"name": "shared"}}
        body = decided(served, security={"mtls": "STRICT"}, routing=routing)
        kinds = [manifest["kind"] for manifest in children(body)]
        assert kinds.count("DestinationRule") == 1, api


def test_model_serves_without_a_mesh_and_reports_the_missing_api() -> None:
    manifests = made(frozenset(), OPERATOR, security={"mtls": "STRICT"})
    assert "PeerAuthentication" not in manifests
    (ingress,) = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert ingress["ports"] == [{"port": 8000, "protocol": "TCP"}]
    reported = verdict({"mtls": "STRICT"}, served=frozenset())
    assert (reported["status"], reported["reason"]) == ("False", "ApiMissing")
    assert "istioctl install" in reported["message"]


@pytest.mark.parametrize(
    ("security", "field"),
    [
        ({"mtls": "STRICT", "jwt": JWT}, "security.jwt"),
        (
            {"mtls": "STRICT", "allowFrom": [{"namespace": "a", "serviceAccounts": ["b"]}]},
            "security.allowFrom[].serviceAccounts",
        ),
    ],
)
def test_unenforceable_security_is_refused(security: dict[str, Any], field: str) -> None:
    refusal = refused(security=security)
    assert refusal.reason == "ApiMissing"
    assert refusal.message.startswith(field)
    assert decided(security=security)


def test_pod_without_a_sidecar_is_reported() -> None:
    security = {"mtls": "STRICT"}
    inside, outside = PodView("r1-a", sidecar=True), PodView("r1-b")
    assert verdict(security)["status"] == "Unknown"
    assert verdict(security, inside)["reason"] == "Enforced"
    reported = verdict(security, inside, outside)
    assert (reported["status"], reported["reason"]) == ("False", "NoSidecar")
    assert "r1-b" in reported["message"]
    assert "kubectl rollout restart deployment/r1" in reported["message"]
    assert verdict({"mtls": "PERMISSIVE"}, inside)["reason"] == "Permissive"
    worker = PodView("r1-gang-0-1", group=0, index=1)
    assert (
        verdict(security, PodView("r1-gang-0", group=0, sidecar=True), worker)["status"] == "True"
    )


def test_sidecar_is_found_among_all_containers() -> None:
    for place in ("containers", "initContainers"):
        body = pod()
        body["spec"] = {place: [{"name": "istio-proxy"}]}
        assert PodView.of(body).sidecar
    assert not PodView.of(pod()).sidecar


def test_api_keys_are_mounted_as_a_file() -> None:
    manifests = made(security={"apiKeys": {"secretName": "keys"}})
    (volume,) = (v for v in template(manifests)["spec"]["volumes"] if v["name"] == "api-keys-file")
    assert volume["secret"] == {
        "secretName": "keys",
        "items": [{"key": "keys.json", "path": "keys.json"}],
        "defaultMode": 0o440,
    }
    (server,) = template(manifests)["spec"]["containers"]
    assert {
        "name": "api-keys-file",
        "mountPath": "/etc/deepseek-keys",
        "readOnly": True,
    } in server["volumeMounts"]
    assert (
        '"apiKeysFile": "/etc/deepseek-keys/keys.json"'
        in (manifests["ConfigMap"]["data"]["config.json"])
    )
    assert "keys" not in str(server["env"])
    other = made(security={"apiKeys": {"secretName": "keys", "key": "mine"}})
    assert "/etc/deepseek-keys/mine" in other["ConfigMap"]["data"]["config.json"]


def test_missing_secret_is_named() -> None:
    mount_failure = 'MountVolume.SetUp failed for volume "api-keys-file" : secret "keys" not found'
    waiting = pod(state={"waiting": {"reason": "ContainerCreating", "message": ""}})
    body = resource(security={"apiKeys": {"secretName": "keys"}})
    observed = Observed(pods=(PodView.of(waiting, mount_failure),))
    status = report(body, decide(body, SETTINGS, observed), observed, NOW).status
    assert status["phase"] == "Cannot mount the API keys"
    assert "Secret keys with the key keys.json" in condition(status, "Ready")["message"]


def test_api_keys_are_refused_for_engines_without_support() -> None:
    refusal = refused(
        security={"apiKeys": {"secretName": "keys"}},
        engine={"type": "vllm"},
        accelerator={"profile": "nvidia-h200"},
        model={"id": R1},
    )
    assert refusal.reason == "EngineUnsupported"
    assert "security.jwt" in refusal.message
