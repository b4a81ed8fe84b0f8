"""kwok: fake nodes with eight GPUs each, for tests of scheduling and scale."""

from __future__ import annotations

from typing import Any

from hack.cluster.component import Component, Site, answers
from hack.cluster.components.node import NODES
from hack.cluster.toolchain import groups

LABEL = {"type": "kwok"}


def kwok(site: Site) -> list[Component]:
    """Return kwok's controller, which simulates the kubelet of the requested fake nodes."""
    # Pods become Ready at once and are deleted at once, by kwok's own fast stages.
    stages = "\n---\n".join(
        path.read_text()
        for path in sorted(site.files("kwok").rglob("*.yaml"))
        if path.name != "kustomization.yaml"
    )
    command = (
        site.binary("kwok"),
        f"--kubeconfig={site.kubeconfig('kwok')}",
        f"--config={site.write('kwok.yaml', stages)}",
        "--manage-nodes-with-label-selector=type=kwok",
        f"--cidr={site.addresses.fake_pods}",
        f"--node-ip={site.addresses.cluster}",
        "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:10247",
    )
    nodes = [fake_node(number) for number in range(site.request.kwok_nodes)]
    ready = answers("http://127.0.0.1:10247/healthz")
    components = [Component("kwok", command, after=("kube-apiserver",), probe=ready)]
    if nodes:
        components.append(site.apply("kwok-nodes", *nodes, after=("kwok",)))
    return components


def kubelet_version() -> str:
    """Return the version that the real node's kubelet reports."""
    return groups()["kubernetes"].stamp["k8s.io/component-base/version.gitVersion"]


def fake_node(number: int) -> dict[str, Any]:
    """Return the manifest of one of kwok's nodes, numbered from 0."""
    shape = NODES["fake"][number % len(NODES["fake"])]
    name = f"kwok-{shape['name']}-{number}"
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        **LABEL,
        **shape["labels"],
    }
    taint = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [taint]},
        "status": {
            "capacity": shape["capacity"],
            "allocatable": shape["capacity"],
            # Controllers derive a cluster's features from it; kwok would set its own version.
            "nodeInfo": {"kubeletVersion": kubelet_version()},
        },
    }
