"""The reachability table matches the policies, evaluated as a cluster does."""

from itertools import product
from typing import Any

import pytest

from deepseek_operator.cli.reachability import CERTIFICATE, TOKEN, Reach, incoming, outgoing, table
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.children import children
from tests.support.operator.resources import resource

SETTINGS = Settings("image", namespace="deepseek-system", monitoring_namespace="monitoring")
MESH = frozenset({"AuthorizationPolicy", "VirtualService", "PodMonitor", "LeaderWorkerSet"})
JWT = {"issuer": "https://login.example.com"}
ROUTING = {"hosts": ["v3.example.com"]}
PEERS = [{"namespace": "chat", "serviceAccounts": ["bot"]}, {"namespace": "jobs"}]

SPECS: list[tuple[frozenset[str], dict[str, Any]]] = [
    (frozenset(), {}),
    (MESH, {}),
    (frozenset(), {"security": {"mtls": "STRICT", "allowFrom": [{"namespace": "jobs"}]}}),
    (MESH, {"security": {"mtls": "PERMISSIVE"}, "routing": ROUTING}),
    (MESH, {"security": {"mtls": "STRICT", "allowFrom": PEERS}}),
    (MESH, {"security": {"mtls": "STRICT", "allowFrom": PEERS, "jwt": JWT}, "routing": ROUTING}),
    (MESH, {"security": {"mtls": "STRICT"}, "parallelism": {"tensor": 2}}),
    (MESH, {"security": {"apiKeys": {"secretName": "keys"}}}),
]

Manifest = dict[str, Any]
NAMESPACES = ("apps", "chat", "jobs", "istio-system", "deepseek-system", "monitoring", "stranger")
ACCOUNTS = ("default", "bot")
PORTS = (8000, 15020, 29500)
PATHS = ("/v1/chat/completions", "/metrics")


def decided(served: frozenset[str], spec: dict[str, Any]) -> DesiredState:
    decision = decide(resource(**spec), SETTINGS, Observed(served=served))
    assert isinstance(decision, DesiredState), decision
    return decision


def network_lets_in(policy: Manifest, namespace: str, port: int, *, of_model: bool) -> bool:
    for rule in policy["ingress"]:
        ports = {item["port"] for item in rule.get("ports", [])}
        if ports and port not in ports:
            continue
        for peer in rule["from"]:
            if "namespaceSelector" in peer:
                wanted = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                if wanted == namespace:
                    return True
            elif namespace == "apps" and (peer["podSelector"] == {} or of_model):
                return True
    return False


def mesh_lets_in(
    manifests: dict[str, Manifest],
    namespace: str,
    account: str,
    path: str,
    *,
    certificate: bool,
    token: bool,
) -> bool:
    """Evaluate the policies like a sidecar for a request to the API port."""
    peer = manifests.get("PeerAuthentication")
    if peer is None:
        return True
    if peer["spec"]["mtls"]["mode"] == "STRICT" and not certificate:
        return False
    policy = manifests.get("AuthorizationPolicy")
    if policy is None:
        return True
    for rule in policy["spec"]["rules"]:
        (to,) = rule["to"]
        if not any(path.startswith(known.rstrip("*")) for known in to["operation"]["paths"]):
            continue
        for item in rule["from"]:
            source = item["source"]
            if "requestPrincipals" in source and not token:
                continue
            principal = f"cluster.local/ns/{namespace}/sa/{account}"
            ends = tuple(known.removeprefix("*") for known in source.get("principals", []))
            if namespace in source.get("namespaces", []) or (ends and principal.endswith(ends)):
                return True
    return False


def table_lets_in(
    row: Reach, namespace: str, account: str, port: int, path: str, proofs: set[str]
) -> bool:
    return (
        row.namespace == namespace
        and (not row.accounts or account in row.accounts)
        and row.port in (None, port)
        and any(path.startswith(known.rstrip("*")) for known in row.paths)
        and {*row.proofs} & {CERTIFICATE, TOKEN} <= proofs
    )


@pytest.mark.parametrize(("served", "spec"), SPECS)
def test_table_matches_the_ingress_policies(served: frozenset[str], spec: dict[str, Any]) -> None:
    desired = decided(served, spec)
    manifests = {manifest["kind"]: manifest for manifest in children(desired)}
    rows = [row for row in incoming(desired, SETTINGS) if row.namespace is not None]
    others = [row for row in rows if "other pods" not in row.who]
    judged = 0
    for namespace, account, port, path, certificate, token in product(
        NAMESPACES, ACCOUNTS, PORTS, PATHS, (True, False), (True, False)
    ):
        allowed = network_lets_in(
            manifests["NetworkPolicy"]["spec"], namespace, port, of_model=False
        )
        if port == 8000:
            allowed = allowed and mesh_lets_in(
                manifests, namespace, account, path, certificate=certificate, token=token
            )
        proofs = {name for name, has in ((CERTIFICATE, certificate), (TOKEN, token)) if has}
        reachable = any(
            table_lets_in(row, namespace, account, port, path, proofs) for row in others
        )
        assert reachable == allowed, (namespace, account, port, path, proofs)
        judged += allowed
    assert judged, "some connections are allowed"


@pytest.mark.parametrize(("served", "spec"), SPECS)
def test_only_ranks_of_the_model_reach_each_other(
    served: frozenset[str], spec: dict[str, Any]
) -> None:
    desired = decided(served, spec)
    (policy,) = (m["spec"] for m in children(desired) if m["kind"] == "NetworkPolicy")
    ranks = [row for row in incoming(desired, SETTINGS) if "other pods" in row.who]
    assert bool(ranks) == network_lets_in(policy, "apps", 29500, of_model=True)
    for namespace in NAMESPACES:
        assert not network_lets_in(policy, namespace, 29500, of_model=False)


@pytest.mark.parametrize(("served", "spec"), SPECS)
def test_table_matches_the_egress_policies(served: frozenset[str], spec: dict[str, Any]) -> None:
    desired = decided(served, spec)
    (policy,) = (m["spec"] for m in children(desired) if m["kind"] == "NetworkPolicy")
    rendered = set()
    for rule in policy["egress"]:
        ports = {item["port"] for item in rule.get("ports", [])} or {None}
        for to in rule.get("to", [None]):
            if to is None:
                namespace = None
            elif "namespaceSelector" in to:
                namespace = to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            else:
                namespace = "apps"
            rendered |= {(namespace, port) for port in ports}
    assert {(row.namespace, row.port) for row in outgoing(desired)} == rendered


def test_table_text() -> None:
    served, spec = SPECS[5]
    text = table(incoming(decided(served, spec), SETTINGS))
    assert text.splitlines()[0].split() == ["WHO", "PORT", "WHAT", "PROOF"]
    assert "service account bot of namespace chat" in text
    assert "certificate of the mesh, token" in text
    assert "pods of namespace istio-system, the gateway's" in text
    assert "the operator in namespace deepseek-system" in text
    _, keys = SPECS[7]
    rows = incoming(decided(MESH, keys), SETTINGS)
    assert [row.proofs for row in rows if row.paths == ("/v1/*",)] == [("API key",)]
