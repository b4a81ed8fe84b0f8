"""Two hundred resources at once on fake nodes: all there, and no write too many."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.target import Target
from tests.e2e.product import Product
from tests.kube import CHILDREN, Audit, Kube, eventually, modest, resource

COUNT = 200
# Of the resource itself: made, scheduled, running, ready; some are seen together.
MOST_STATUSES, MOST_EVENTS = 5, 4
STEADY_SECONDS = 60

ON_FAKE_NODES = modest(
    nodeSelector={"type": "kwok"},
    tolerations=[{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
)


@pytest.fixture
def audit_log(cluster: Target) -> Path:
    if cluster.kind != "embedded":
        pytest.skip(f"a {cluster.kind} cluster has no fake nodes and no audit log that we can read")
    cluster.up(["node", "registry", "kwok"], kwok_nodes=4)
    return cluster.kubeconfig.parent / "logs/audit.log"


def by_operator(entry: dict[str, Any]) -> bool:
    return bool(entry["user"]["username"].startswith("system:serviceaccount:deepseek-system:"))


def test_two_hundred_at_once(
    kube: Kube, product: Product, audit_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"model-{number}" for number in range(COUNT)]
    audit = Audit(audit_log, kube.namespace)
    started = time.monotonic()
    kube.apply(*(resource(name, podTemplate=ON_FAKE_NODES) for name in names))
    for kind in CHILDREN:
        eventually(f"every {kind}", lambda kind=kind: len(kube.all(kind)) >= COUNT, 120)
    eventually(
        "all ready",
        lambda: all(
            any(
                c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"]
            )
            for item in kube.all("dsd")
        ),
        180,
    )
    seconds = time.monotonic() - started
    writes = audit.writes(by_operator)
    statuses = writes.pop("patch deepseekdeployments/status")
    events = writes.pop("create events")
    assert writes == {
        "patch serviceaccounts": COUNT,
        "patch configmaps": COUNT,
        "patch services": COUNT,
        "patch poddisruptionbudgets": COUNT,
        "patch networkpolicies": COUNT,
        "patch deployments": COUNT,
    }
    with capsys.disabled():
        each = f"{len(CHILDREN)} children, {statuses / COUNT:.1f} statuses, {events / COUNT:.1f} events"
        print(f"\n{COUNT} resources ready after {seconds:.0f} s; writes for each: {each}")
    assert statuses <= MOST_STATUSES * COUNT
    assert events <= MOST_EVENTS * COUNT

    steady = Audit(audit_log, kube.namespace)
    time.sleep(STEADY_SECONDS)
    assert steady.writes(by_operator) == {}
    product.kill_operator()
    time.sleep(25)  # the lease of what was killed has to run out first
    assert steady.writes(by_operator) == {}, "a restart writes nothing either"
