"""Kueue admits whole replicas: no replica holds a part of its resources while it waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from hack.cluster.components.kueue import LABEL
from tests.support.e2e.product import Product
from tests.support.kube import Kube, eventually, resource

REPLICAS, PODS = 50, 4
# Number of replicas that fit into the queue's quota.
ROOM = 40
MILLICORES = 6500
GROUP = "leaderworkerset.sigs.k8s.io/group-index"
ON_FAKE_NODES = {
    "spec": {
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        "containers": [{"name": "server", "resources": {"requests": {"cpu": f"{MILLICORES}m"}}}],
    }
}


# Kueue takes five minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("queue")]


@pytest.fixture
def queue(fake_nodes: None, kube: Kube) -> Iterator[str]:
    """Name of a queue in this namespace."""
    kube.run("label", "namespace", kube.namespace, f"{LABEL}=")
    name = kube.namespace
    unlimited = ("memory", "ephemeral-storage", "nvidia.com/gpu")
    quotas = [
        {"name": "cpu", "nominalQuota": f"{ROOM * PODS * MILLICORES}m"},
        *({"name": item, "nominalQuota": "1Pi"} for item in unlimited),
    ]
    flavor = {"name": name, "resources": quotas}
    group = {"coveredResources": [item["name"] for item in quotas], "flavors": [flavor]}
    kube.apply(
        made("ResourceFlavor", name, {}),
        made("ClusterQueue", name, {"namespaceSelector": {}, "resourceGroups": [group]}),
        made("LocalQueue", name, {"clusterQueue": name}),
    )
    yield name
    # These are cluster-scoped, so they are not deleted with the namespace.
    for kind in ("clusterqueue", "resourceflavor"):
        kube.run("delete", kind, name, "--wait=false")


def made(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = "kueue.x-k8s.io/v1beta2"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def placed(kube: Kube, name: str) -> Counter[str]:
    """Count the scheduled pods by replica."""
    pods = kube.all("pod", f"deepseek-operator.io/name={name}")
    return Counter(
        pod["metadata"]["labels"].get(GROUP, "alone") for pod in pods if pod["spec"].get("nodeName")
    )


def test_whole_replicas_are_admitted_and_the_others_hold_nothing(
    queue: str, kube: Kube, product: Product
) -> None:
    """Fifty replicas of four pods in a queue with room for forty."""
    waits = {"scheduling": {"queue": queue}, "podTemplate": ON_FAKE_NODES}
    kube.apply(resource("many", parallelism={"tensor": PODS}, replicas=REPLICAS, **waits))
    eventually("forty replicas run", lambda: placed(kube, "many").total() == ROOM * PODS, 300)
    assert set(placed(kube, "many").values()) == {PODS}, "a replica is partly scheduled"

    def waiting_message() -> str:
        ready = kube.condition("many")
        return str(ready["message"]) if ready.get("reason") == "WaitingInQueue" else ""

    assert f"of 50 replicas wait in queue {queue}" in eventually("WaitingInQueue", waiting_message)

    # A model on one pod waits in the same queue and is admitted when replicas leave.
    kube.apply(resource("one", **waits))
    eventually(
        "the second model waits", lambda: kube.condition("one").get("reason") == "WaitingInQueue"
    )
    kube.run("scale", "dsd", "many", f"--replicas={ROOM // 2}")
    eventually("the second model serves", lambda: kube.condition("one").get("status") == "True")
    eventually(
        "the remaining replicas serve", lambda: kube.condition("many").get("status") == "True"
    )
    assert placed(kube, "many") == {str(number): PODS for number in range(ROOM // 2)}
