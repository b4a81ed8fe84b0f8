"""etcd, API server, controller-manager and scheduler."""

from __future__ import annotations

from hack.cluster.component import Component, Site, answers

# Far above the defaults: tests that create hundreds of objects measure the product, not the
# rate limits of the controllers beside it.
CLIENT_RATE, CLIENT_BURST = 500, 1000

# Tests count the writes of a controller, so every write is logged and no read.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata"},
    ],
}


def etcd(site: Site) -> list[Component]:
    """Return etcd; it starts empty and without fsync, because no data is kept."""
    client, peer = "https://127.0.0.1:2379", "https://127.0.0.1:2380"
    command = (
        site.binary("etcd"),
        f"--data-dir={site.data('etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--client-cert-auth",
        f"--trusted-ca-file={site.cert('etcd-ca')}",
        f"--cert-file={site.cert('etcd')}",
        f"--key-file={site.key('etcd')}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={site.cert('etcd-ca')}",
        f"--peer-cert-file={site.cert('etcd')}",
        f"--peer-key-file={site.key('etcd')}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return [Component("etcd", command, probe=answers("http://127.0.0.1:2381/health"))]


def api_server(site: Site) -> list[Component]:
    """Return the API server, configured as in production, with an audit log."""
    addresses = site.addresses
    issuer = "https://kubernetes.default.svc.cluster.local"
    command = (
        site.binary("kubernetes", "kube-apiserver"),
        f"--advertise-address={addresses.cluster}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={site.cert('kube-apiserver')}",
        f"--tls-private-key-file={site.key('kube-apiserver')}",
        f"--client-ca-file={site.cert('ca')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--etcd-servers=https://127.0.0.1:2379",
        f"--etcd-cafile={site.cert('etcd-ca')}",
        f"--etcd-certfile={site.cert('kube-apiserver-etcd')}",
        f"--etcd-keyfile={site.key('kube-apiserver-etcd')}",
        f"--kubelet-certificate-authority={site.cert('ca')}",
        f"--kubelet-client-certificate={site.cert('kube-apiserver-kubelet')}",
        f"--kubelet-client-key={site.key('kube-apiserver-kubelet')}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={issuer}",
        f"--service-account-key-file={site.state.pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={site.key('service-accounts')}",
        # Required by aggregated APIs (custom.metrics.k8s.io).
        f"--requestheader-client-ca-file={site.cert('front-proxy-ca')}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={site.cert('front-proxy')}",
        f"--proxy-client-key-file={site.key('front-proxy')}",
        f"--audit-policy-file={site.write_yaml('audit-policy.yaml', AUDIT_POLICY)}",
        f"--audit-log-path={site.state.logs / 'audit.log'}",
        # One file without rotation, because tests count its lines.
        "--audit-log-maxsize=10000",
    )
    ready = answers(f"https://{addresses.cluster}:6443/readyz", site.cert("ca"))
    return [Component("kube-apiserver", command, after=("etcd",), probe=ready)]


def controllers(site: Site) -> list[Component]:
    """Return controller-manager and scheduler; one of each, so without leader election."""
    serving = (
        "--bind-address=127.0.0.1",
        f"--tls-cert-file={site.cert('node-server')}",
        f"--tls-private-key-file={site.key('node-server')}",
    )
    manager = (
        site.binary("kubernetes", "kube-controller-manager"),
        f"--kubeconfig={site.kubeconfig('kube-controller-manager')}",
        *serving,
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={site.key('service-accounts')}",
        f"--root-ca-file={site.cert('ca')}",
        f"--cluster-signing-cert-file={site.cert('ca')}",
        f"--cluster-signing-key-file={site.key('ca')}",
        f"--flex-volume-plugin-dir={site.data('volume-plugins')}",
        f"--kube-api-qps={CLIENT_RATE}",
        f"--kube-api-burst={CLIENT_BURST}",
        # A third of the default: tests of autoscaling wait for it.
        "--horizontal-pod-autoscaler-sync-period=5s",
    )
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {
            "kubeconfig": site.kubeconfig("kube-scheduler"),
            "qps": CLIENT_RATE,
            "burst": CLIENT_BURST,
        },
    }
    scheduler = (
        site.binary("kubernetes", "kube-scheduler"),
        f"--config={site.write_yaml('kube-scheduler.yaml', configuration)}",
        *serving,
    )
    ca = site.cert("ca")
    return [
        Component(
            "kube-controller-manager",
            manager,
            after=("kube-apiserver",),
            probe=answers("https://127.0.0.1:10257/healthz", ca),
        ),
        Component(
            "kube-scheduler",
            scheduler,
            after=("kube-apiserver",),
            probe=answers("https://127.0.0.1:10259/readyz", ca),
        ),
    ]
