"""Many resources at once on fake nodes: all become ready, without superfluous writes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.target import Target
from tests.support.e2e.product import Product
from tests.support.kube import CHILDREN, Audit, Kube, eventually, modest, resource

# Writes per resource: created, scheduled, running, ready; some states are observed together.
MOST_STATUSES, MOST_EVENTS = 5, 4

ON_FAKE_NODES = modest(
    nodeSelector={"type": "kwok"},
    tolerations=[{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
)


@pytest.fixture
def audit_log(cluster: Target) -> Path:
    if cluster.kind != "embedded":
        pytest.skip(f"a {cluster.kind} cluster has no audit log that tests can read")
    return cluster.kubeconfig.parent / "logs/audit.log"


def by_operator(entry: dict[str, Any]) -> bool:
    return bool(entry["user"]["username"].startswith("system:serviceaccount:deepseek-system:"))


@pytest.mark.parametrize(
    ("count", "steady_seconds"), [(30, 15), pytest.param(200, 60, marks=pytest.mark.long)]
)
def test_many_resources_become_ready_without_superfluous_writes(
    count: int,
    steady_seconds: float,
    fake_nodes: None,
    kube: Kube,
    product: Product,
    audit_log: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"model-{number}" for number in range(count)]
    audit = Audit(audit_log, kube.namespace)
    started = time.monotonic()
    kube.apply(*(resource(name, podTemplate=ON_FAKE_NODES) for name in names))
    for kind in CHILDREN:
        eventually(f"every {kind}", lambda kind=kind: len(kube.all(kind)) >= count)
    eventually(
        "all ready",
        lambda: all(
            any(
                c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"]
            )
            for item in kube.all("dsd")
        ),
        300,
    )
    seconds = time.monotonic() - started
    writes = audit.writes(by_operator)
    statuses = writes.pop("patch deepseekdeployments/status")
    events = writes.pop("create events")
    assert writes == {
        "patch serviceaccounts": count,
        "patch configmaps": count,
        "patch services": count,
        "patch poddisruptionbudgets": count,
        "patch networkpolicies": count,
        "patch deployments": count,
    }
    with capsys.disabled():
        each = f"{len(CHILDREN)} children, {statuses / count:.1f} statuses, {events / count:.1f} events"
        print(f"\n{count} resources ready after {seconds:.0f} s; writes for each: {each}")
    assert statuses <= MOST_STATUSES * count
    assert events <= MOST_EVENTS * count

    steady = Audit(audit_log, kube.namespace)
    time.sleep(steady_seconds)
    assert steady.writes(by_operator) == {}
    product.kill_operator()
    time.sleep(25)  # until the lease of the killed leader has expired
    assert steady.writes(by_operator) == {}, "the restarted operator wrote"
