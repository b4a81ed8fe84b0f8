"""Credentials of the cluster: users, servers and signing keys, issued at each start."""

from __future__ import annotations

from ipaddress import IPv4Address

from hack.cluster.component import NODE_NAME, Site
from hack.cluster.machine.pki import Authority, key_pair

# File name -> (user, groups). The user names are those that RBAC's built-in roles are bound to.
USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("deepseek-operator-admin", ("system:masters",)),
    "kube-apiserver-kubelet": ("kube-apiserver-kubelet", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kubelet": (f"system:node:{NODE_NAME}", ("system:nodes",)),
    "kube-proxy": ("system:kube-proxy", ()),
    "coredns": ("system:coredns", ()),
    "kwok": ("kwok-controller", ("system:masters",)),
    "lws": ("lws-controller-manager", ()),
    "kueue": ("kueue-controller-manager", ()),
    "kube-router": ("kube-router", ()),
    # The service account of Istio's chart, whose permissions the process needs.
    "istiod": ("system:serviceaccount:istio-system:istiod", ("system:serviceaccounts",)),
}
LOCAL = IPv4Address("127.0.0.1")
API_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)


def issue(site: Site) -> None:
    """Create all certificates, keys and kubeconfigs of this cluster."""
    folder, addresses = site.state.pki, site.addresses
    everywhere = (addresses.cluster, addresses.api_service, LOCAL)
    authority = Authority(folder, "ca")
    authority.issue("kube-apiserver", addresses=everywhere, host_names=API_NAMES)
    authority.issue(
        "node-server",
        addresses=(addresses.cluster, LOCAL),
        host_names=(NODE_NAME, "localhost"),
    )
    for webhook in ("lws-webhook", "kueue-webhook"):
        authority.issue(f"{webhook}/tls", webhook, addresses=(addresses.cluster,))
    server = f"https://{addresses.cluster}:6443"
    for name, (user, groups) in USERS.items():
        pair = authority.issue(name, user, groups=groups)
        authority.kubeconfig(folder / f"{name}.kubeconfig", server, pair)
        if name == "admin":
            authority.kubeconfig(site.state.kubeconfig, server, pair)
    # Separate authorities: a certificate of the cluster must neither be valid for etcd nor for
    # the API server's proxy.
    etcd = Authority(folder, "etcd-ca")
    etcd.issue("etcd", addresses=(LOCAL,), host_names=("localhost",))
    etcd.issue("kube-apiserver-etcd")
    Authority(folder, "front-proxy-ca").issue("front-proxy")
    key_pair(folder, "service-accounts")
