"""A real node: containerd, kubelet, kube-proxy, and advertised GPUs that do not exist."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.component import NODE_NAME, Component, Site, answers, exists
from hack.cluster.components.registry import PORT, REGISTRY
from hack.cluster.machine.isolation import cgroup_name
from hack.cluster.tiny_image import tiny_image, write_archive

NODES = yaml.safe_load((Path(__file__).parent / "nodes.yaml").read_text())
# /run is private to the cluster, so the usual path does not collide.
SOCKET = Path("/run/containerd/containerd.sock")
PAUSE_IMAGE = "registry.deepseek.local/pause:1"
# Debian's path of the CNI plug-ins first, then the path of other distributions.
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")

CONTAINERD = """\
version = 2
root = {root}
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = {socket}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {pause}
# Where root lacks CAP_SYS_RESOURCE, no container starts without it.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
# The registry still has the layers; unpacked ones are enough here.
discard_unpacked_layers = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {cni_bin}
conf_dir = {cni_conf}

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = {mirrors}
"""


def runtime(site: Site) -> list[Component]:
    """Return containerd with a persistent image store, and the pause image."""
    folder = next((path for path in CNI_FOLDERS if Path(path, "bridge").exists()), CNI_FOLDERS[0])
    network = site.write("cni/10-bridge.conflist", json.dumps(_network(site), indent=1))
    registry = f"http://{site.addresses.cluster}:{PORT}"
    mirror = site.write(
        f"certs.d/{REGISTRY}/hosts.toml",
        f'server = "{registry}"\n[host."{registry}"]\ncapabilities = ["pull", "resolve"]\n',
    )
    text = CONTAINERD.format(
        root=json.dumps(str(site.store / "containerd")),
        socket=json.dumps(str(SOCKET)),
        pause=json.dumps(PAUSE_IMAGE),
        cni_bin=json.dumps(folder),
        cni_conf=json.dumps(str(Path(network).parent)),
        mirrors=json.dumps(str(Path(mirror).parents[1])),
    )
    clear = (sys.executable, "-m", "hack.cluster.machine.orphans", str(site.store / "containerd"))
    command = ("containerd", "--config", site.write("containerd.toml", text))
    images = ("ctr", "--address", str(SOCKET), "--namespace", "k8s.io", "images", "import")
    archive = site.state.data / "pause.tar"
    write_archive(tiny_image(Path(site.binary("pods", "pause"))), PAUSE_IMAGE, archive)
    return [
        Component("old-containers", clear),
        Component("containerd", command, after=("old-containers",), probe=exists(SOCKET)),
        Component("pause-image", (*images, str(archive)), after=("containerd",)),
    ]


def kubelet(site: Site) -> list[Component]:
    """Return the kubelet, and the command that waits until its node is Ready."""
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(site.addresses.cluster),
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": site.cert("node-server"),
        "tlsPrivateKeyFile": site.key("node-server"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": site.cert("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDNS": [str(site.addresses.dns_service)],
        "clusterDomain": "cluster.local",
        "resolvConf": site.write("resolv.conf", f"nameserver {site.addresses.cluster}\n"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup_name(site.addresses.slot)}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # Raising it would need CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        "maxPods": 250,
        "podPidsLimit": -1,
        "volumePluginDir": site.data("volume-plugins"),
        # The machine has other load: evict only at a real shortage, and keep images, because
        # importing one again takes minutes.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "5s",
    }
    labels = ",".join(f"{name}={value}" for name, value in NODES["real"]["labels"].items())
    command = (
        site.binary("kubernetes", "kubelet"),
        f"--config={site.write_yaml('kubelet.yaml', configuration)}",
        f"--kubeconfig={site.kubeconfig('kubelet')}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={site.addresses.cluster}",
        f"--node-labels={labels}",
    )
    wait = ("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=60s")
    return [
        Component(
            "kubelet",
            command,
            after=("kube-apiserver", "pause-image"),
            probe=answers("http://127.0.0.1:10248/healthz"),
        ),
        Component("node-ready", site.kubectl(*wait), after=("kubelet",)),
    ]


def proxy(site: Site) -> list[Component]:
    """Return kube-proxy, which makes Service addresses work for pods and for the host."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": str(site.addresses.pods),
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": site.kubeconfig("kube-proxy")},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        # Only the machine's initial network namespace may set these.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    command = (
        site.binary("kubernetes", "kube-proxy"),
        f"--config={site.write_yaml('kube-proxy.yaml', configuration)}",
    )
    ready = answers("http://127.0.0.1:10256/livez")
    return [Component("kube-proxy", command, after=("kube-apiserver",), probe=ready)]


def devices(site: Site) -> list[Component]:
    """Advertise nonexistent GPUs on the real node; pods that request them run on the CPU."""
    count = {NODES["gpu_resource"]: str(site.request.gpus)}
    patch = json.dumps({"status": {"capacity": count, "allocatable": count}})
    command = site.kubectl(
        "patch", "node", NODE_NAME, "--subresource=status", "--type=merge", f"--patch={patch}"
    )
    return [Component("gpus", command, after=("kubelet",))]


def _network(site: Site) -> dict[str, Any]:
    """Return the CNI configuration: all pods on one bridge, with host ports."""
    addresses: dict[str, Any] = {
        "type": "host-local",
        "dataDir": site.data("cni"),
        "ranges": [[{"subnet": str(site.addresses.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "mtu": 1400,
        "ipam": addresses,
    }
    host_ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, host_ports]}
