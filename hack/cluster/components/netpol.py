"""kube-router's firewall, because the bridge between pods does not enforce NetworkPolicy."""

from __future__ import annotations

from typing import Any

from hack.cluster.component import NODE_NAME, Component, Site, answers

HEALTH_PORT = 20244
USER = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kube-router"}
READS = {
    "": ["endpoints", "namespaces", "nodes", "pods", "services"],
    "discovery.k8s.io": ["endpointslices"],
    "networking.k8s.io": ["networkpolicies"],
}


def netpol(site: Site) -> list[Component]:
    """Return kube-router as firewall only: iptables and ipset rules in the cluster's namespace."""
    command = (
        site.binary("netpol", "kube-router"),
        f"--kubeconfig={site.kubeconfig('kube-router')}",
        f"--hostname-override={NODE_NAME}",
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        "--run-loadbalancer=false",
        f"--service-cluster-ip-range={site.addresses.services}",
        f"--health-port={HEALTH_PORT}",
        # Log the duration of each sync.
        "--v=1",
    )
    ready = answers(f"http://127.0.0.1:{HEALTH_PORT}/healthz")
    return [
        site.apply("kube-router-role", *_role(), after=("kube-apiserver",)),
        Component("kube-router", command, after=("kube-router-role", "node-ready"), probe=ready),
    ]


def _role() -> tuple[dict[str, Any], dict[str, Any]]:
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]}
        for group, resources in READS.items()
    ]
    api, metadata = "rbac.authorization.k8s.io/v1", {"name": "kube-router"}
    role = {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    reference = {"apiGroup": USER["apiGroup"], "kind": "ClusterRole", "name": "kube-router"}
    binding = {"roleRef": reference, "subjects": [USER]}
    return role, {"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata, **binding}
