"""The embedded cluster works like a cluster, recovers from failures, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.embedded import REPOSITORY, EmbeddedCluster, holders
from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.machine.isolation import CGROUPS, cgroup_name
from hack.cluster.machine.network import Addresses
from hack.cluster.machine.store import store_path
from hack.cluster.target import Target
from tests.support.e2e.probe_image import push_probe
from tests.support.kube import Kube, eventually

OWN = REPOSITORY / ".cluster" / "own"
STORE = "test"


@pytest.fixture(scope="module")
def kube(cluster: Target) -> Iterator[Kube]:
    if cluster.kind != "embedded":
        pytest.skip(f"these tests are about the embedded cluster, this is {cluster.kind}")
    # A cluster that stays up may still be deleting the previous run's namespace.
    namespace = f"probe-{os.getpid()}"
    kubectl(cluster, "create", "namespace", namespace)
    yield Kube(cluster, namespace)
    kubectl(cluster, "delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def pod(cluster: Target, kube: Kube) -> dict[str, Any]:
    """A ready pod with a GPU, behind a Service."""
    image = push_probe(cluster)
    limits = {"nvidia.com/gpu": "1", "memory": "64Mi"}
    container = {
        "name": "probe",
        "image": image,
        "args": ["serve", "8080"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "resources": {"limits": limits},
    }
    metadata = {"name": "probe", "labels": {"app": "probe"}}
    service = {"selector": {"app": "probe"}, "ports": [{"port": 80, "targetPort": 8080}]}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    )
    kube.run("wait", "--for=condition=Ready", "pod/probe", "--timeout=60s")
    found = kube.get("pod", "probe")
    assert found is not None
    return found


def test_the_node_is_ready_and_has_gpus(cluster: Target, kube: Kube) -> None:
    node = kube.get("node", "node-1")
    assert node is not None
    ready = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    assert ready["Ready"] == "True"
    assert int(node["status"]["allocatable"]["nvidia.com/gpu"]) >= 1
    assert node["metadata"]["labels"]["nvidia.com/gpu.present"] == "true"


def test_a_pod_from_the_registry_runs_with_logs_and_exec(pod: dict[str, Any], kube: Kube) -> None:
    assert "serving on :8080" in kube.run("logs", "probe")
    answer = kube.run("exec", "probe", "--", "/probe", "fetch", "http://127.0.0.1:8080/")
    assert answer.strip() == "probe"


def test_a_service_is_reached_by_address_from_the_host(pod: dict[str, Any], kube: Kube) -> None:
    service = kube.get("service", "probe")
    assert service is not None
    url = f"http://{service['spec']['clusterIP']}/"

    def answer() -> str:
        """Return the response, empty until kube-proxy knows the pod."""
        try:
            return httpx.get(url, trust_env=False).text.strip()
        except httpx.ConnectError:
            return ""

    assert eventually("a response", answer) == "probe"


def test_a_service_is_reached_by_name_from_a_pod(pod: dict[str, Any], kube: Kube) -> None:
    url = f"http://probe.{kube.namespace}.svc/"

    def answer() -> str:
        try:
            return kube.run("exec", "probe", "--", "/probe", "fetch", url).strip()
        except ClusterError:
            return ""

    assert eventually("a response", answer) == "probe"


def test_without_egress_external_names_fail_quickly(
    cluster: Target, pod: dict[str, Any], kube: Kube
) -> None:
    assert isinstance(cluster, EmbeddedCluster)
    if cluster.status().egress:
        pytest.skip("this cluster has egress")
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="lookup huggingface"):
        kube.run("exec", "probe", "--", "/probe", "lookup", "huggingface.co")
    assert time.monotonic() - begin < 10


def test_a_forwarded_port_works(cluster: Target, pod: dict[str, Any], kube: Kube) -> None:
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "-n", kube.namespace]
    forward = subprocess.Popen(
        [*command, "port-forward", "pod/probe", ":8080"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert forward.stdout is not None
        port = forward.stdout.readline().split(" -> ")[0].rsplit(":", 1)[1]
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"http://127.0.0.1:{port}/").text.strip() == "probe"
    finally:
        forward.terminate()
        forward.wait()


def test_an_account_without_rights_is_refused(kube: Kube) -> None:
    user = f"--as=system:serviceaccount:{kube.namespace}:default"
    with pytest.raises(ClusterError, match="forbidden"):
        kube.run("get", "pods", user)


def test_a_second_up_changes_nothing(cluster: Target, kube: Kube) -> None:
    assert isinstance(cluster, EmbeddedCluster)
    before = cluster.status()
    begin = time.monotonic()
    assert cluster.up(["node", "registry"]) is False
    assert time.monotonic() - begin < 15
    assert cluster.status() == before


@pytest.fixture
def own() -> Iterator[EmbeddedCluster]:
    """A separate cluster for tests that damage it."""
    cluster = EmbeddedCluster(OWN, STORE)
    cluster.down()
    yield cluster
    cluster.down()
    for folder in (store_path(STORE), OWN):
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_restarts_after_its_supervisor_was_killed_and_leaves_nothing_behind(
    cluster: Target, kube: Kube, own: EmbeddedCluster
) -> None:
    assert own.up(["node"])
    _run_a_pod(own)
    first = Identity.of(own, OWN / "lock")
    assert {"processes", "cgroups", "links", "routes", "files"} <= first.traces().keys()

    for pid in holders(OWN / "lock"):
        os.kill(pid, signal.SIGKILL)
    eventually("the cluster has ended", lambda: not own.status().components)
    assert not own.is_up()

    begin = time.monotonic()
    assert own.up(["node"])
    assert time.monotonic() - begin < 60
    assert kubectl(own, "get", "pods", "--all-namespaces", "-o", "name") == ""
    _run_a_pod(own)
    second = Identity.of(own, OWN / "lock")
    own.down()
    assert first.traces() == {}
    assert second.traces() == {}


def test_a_cluster_ends_with_the_process_that_holds_its_lifeline(own: EmbeddedCluster) -> None:
    program = f"""
        import time
        from pathlib import Path
        from hack.cluster.embedded import EmbeddedCluster
        EmbeddedCluster(Path({str(OWN)!r}), {STORE!r}).up(["api"], egress=True, lifeline=True)
        print("up", flush=True)
        time.sleep(600)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert "up" in holder.stdout.read(3)
        assert own.is_up()
        identity = Identity.of(own, OWN / "lock")
    finally:
        holder.kill()
        holder.wait()
    eventually("the cluster has ended", lambda: not own.is_up())
    eventually("its link is gone", lambda: "links" not in identity.traces())
    assert "processes" not in identity.traces()
    assert len(identity.traces()["rules"]) == 1, "the host's NAT rule waits for the next command"
    own.down()
    assert identity.traces() == {}


def test_parts_can_be_added_to_a_running_cluster_and_groups_run_on_fake_nodes(
    own: EmbeddedCluster,
) -> None:
    assert own.up(["kwok"], kwok_nodes=2)
    assert own.up(["lws"], kwok_nodes=4) is False
    assert own.status().parts == ("api", "controllers", "kwok", "lws")
    nodes = json.loads(kubectl(own, "get", "nodes", "-o", "json"))["items"]
    assert len(nodes) == 4
    assert {node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes} == {"8"}
    assert len({node["metadata"]["labels"]["nvidia.com/gpu.product"] for node in nodes}) == 4

    container = {"name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    tolerations = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
    template = {"spec": {"containers": [container], "tolerations": tolerations}}
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "group"},
        "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 2, "workerTemplate": template}},
    }
    eventually("default service account", lambda: _exists(own, "serviceaccount/default"))
    eventually("the kind is served", lambda: "leaderworkersets" in _kinds(own))
    kubectl(own, "apply", "-f", "-", text=json.dumps(group))
    kubectl(own, "wait", "--for=jsonpath={.status.readyReplicas}=2", "lws/group", "--timeout=30s")
    pods = json.loads(kubectl(own, "get", "pods", "-o", "json"))["items"]
    assert sorted(pod["metadata"]["name"] for pod in pods) == [
        "group-0",
        "group-0-1",
        "group-1",
        "group-1-1",
    ]


@pytest.mark.long
def test_istio_and_the_firewall_end_with_their_cluster(own: EmbeddedCluster) -> None:
    assert own.up(["istio", "netpol"])
    eventually("default namespace", lambda: _exists(own, "namespace/default"))
    kubectl(own, "label", "namespace", "default", "istio-injection=enabled")
    _run_a_pod(own)
    pod = json.loads(kubectl(own, "get", "pod", "pause", "-o", "json"))
    assert "istio-proxy" in [container["name"] for container in pod["spec"]["initContainers"]]
    identity = Identity.of(own, OWN / "lock")
    assert {"processes", "cgroups", "links", "routes", "files"} <= identity.traces().keys()
    own.down()
    assert identity.traces() == {}
    assert _lines(["ipset", "list", "-name"], ["KUBE-"]) == []


def _run_a_pod(cluster: EmbeddedCluster) -> None:
    """Run the one image that needs no registry."""
    container = {"name": "pause", "image": "registry.deepseek.local/pause:1"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pause"},
        "spec": {"containers": [container]},
    }
    eventually("default service account", lambda: _exists(cluster, "serviceaccount/default"))
    kubectl(cluster, "apply", "-f", "-", text=json.dumps(pod))
    kubectl(cluster, "wait", "--for=condition=Ready", "pod/pause", "--timeout=60s")


def _kinds(cluster: EmbeddedCluster) -> str:
    return kubectl(
        cluster, "api-resources", "--api-group=leaderworkerset.x-k8s.io", "--output=name"
    )


def _exists(cluster: EmbeddedCluster, name: str) -> bool:
    return kubectl(cluster, "get", name, "--ignore-not-found", "-o", "name") != ""


def _network_namespace(process: Path) -> str:
    try:
        return str((process / "ns" / "net").readlink())
    except OSError:
        return ""


@dataclass(frozen=True)
class Identity:
    """Properties that distinguish a cluster's traces from those of other clusters on this machine."""

    slot: int
    namespace: str

    @classmethod
    def of(cls, cluster: EmbeddedCluster, lock_file: Path) -> Identity:
        """Return the identity of a running cluster."""
        host = _network_namespace(Path("/proc/self"))
        spaces = {_network_namespace(Path("/proc", str(pid))) for pid in holders(lock_file)}
        (namespace,) = spaces - {host, ""}
        return cls(cluster.addresses.slot, namespace)

    def traces(self) -> dict[str, list[str]]:
        """Return what exists of the cluster on the host, by kind; kinds without any are omitted.

        Programs of the cluster are in its network namespace, programs in pods in its cgroups.
        """
        addresses = Addresses(self.slot)
        networks = [str(network.network_address) for network in addresses.networks()]
        found = {
            "processes": [
                process.name
                for process in Path("/proc").iterdir()
                if process.name.isdigit() and _network_namespace(process) == self.namespace
            ],
            "cgroups": [str(path) for path in CGROUPS.glob(f"**/{cgroup_name(self.slot)}")],
            "mounts": _lines(["cat", "/proc/self/mountinfo"], [str(OWN), str(store_path(STORE))]),
            "links": _lines(["ip", "-brief", "link"], [f"{addresses.host_link_name}@", "cni0"]),
            "routes": _lines(["ip", "route"], networks),
            "rules": _lines(["iptables-save"], [*networks, "KUBE-", "CNI-"]),
            "files": [str(path) for path in (OWN / "pki", OWN / "data") if path.exists()],
        }
        return {kind: items for kind, items in found.items() if items}


def _lines(command: list[str], words: list[str]) -> list[str]:
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in output.splitlines() if any(word in line for word in words)]
