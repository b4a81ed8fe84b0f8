"""The embedded cluster is a cluster, survives what happens to it, and leaves nothing behind."""

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
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.embedded import REPOSITORY, EmbeddedCluster, holders
from tests.cluster.isolation import CGROUPS
from tests.cluster.kubectl import kubectl
from tests.cluster.network import EGRESS_COMMENT
from tests.cluster.store import store_path
from tests.cluster.target import Target
from tests.e2e.probe_image import push_probe
from tests.kube import Kube, eventually

OWN = REPOSITORY / ".cluster" / "own"
OWN_STORE = "test"


@pytest.fixture(scope="module")
def kube(cluster: Target) -> Iterator[Kube]:
    if cluster.kind != "embedded":
        pytest.skip(f"these tests are about the embedded cluster, this is {cluster.kind}")
    kubectl(cluster, "create", "namespace", "probe")
    yield Kube(cluster, "probe")
    kubectl(cluster, "delete", "namespace", "probe", "--wait=false")


@pytest.fixture(scope="module")
def pod(cluster: Target, kube: Kube) -> dict[str, Any]:
    """A pod with a GPU behind a Service, Ready."""
    image = push_probe(cluster)
    limits = {"nvidia.com/gpu": "1", "memory": "64Mi"}
    container = {
        "name": "probe",
        "image": image,
        "args": ["serve"],
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
    with httpx.Client(trust_env=False) as client:
        assert client.get(url).text.strip() == "probe"


def test_a_service_is_reached_by_name_from_a_pod(pod: dict[str, Any], kube: Kube) -> None:
    answer = kube.run("exec", "probe", "--", "/probe", "fetch", "http://probe.probe.svc/")
    assert answer.strip() == "probe"


def test_without_egress_names_outside_are_refused_at_once(
    cluster: Target, pod: dict[str, Any], kube: Kube
) -> None:
    assert isinstance(cluster, EmbeddedCluster)
    if cluster.status().egress:
        pytest.skip("this cluster has egress")
    begin = time.monotonic()
    script = ("exec", "probe", "--", "/probe", "lookup", "huggingface.co")
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "-n", "probe", *script]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert time.monotonic() - begin < 5


def test_a_forwarded_port_works(cluster: Target, pod: dict[str, Any]) -> None:
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "-n", "probe"]
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


def test_an_account_without_rights_is_refused(cluster: Target, kube: Kube) -> None:
    user = "--as=system:serviceaccount:probe:default"
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "-n", "probe"]
    result = subprocess.run([*command, "get", "pods", user], capture_output=True, text=True)
    assert "forbidden" in result.stderr


def test_a_second_up_changes_nothing(cluster: Target, kube: Kube) -> None:
    assert isinstance(cluster, EmbeddedCluster)
    before = cluster.status()
    begin = time.monotonic()
    assert cluster.up(["node", "registry"]) is False
    assert time.monotonic() - begin < 5
    assert cluster.status() == before


@pytest.fixture
def own() -> Iterator[EmbeddedCluster]:
    """A cluster beside the shared one, to be mistreated."""
    cluster = EmbeddedCluster(OWN, OWN_STORE)
    cluster.down()
    yield cluster
    cluster.down()
    shutil.rmtree(store_path(OWN_STORE))
    shutil.rmtree(OWN)


def test_it_comes_up_again_after_its_supervisor_was_killed_and_leaves_nothing(
    cluster: Target, kube: Kube, own: EmbeddedCluster
) -> None:
    before = _traces()
    assert own.up(["node"])
    assert _traces() != before
    _run_a_pod(own)

    for pid in holders(OWN / "lock"):
        os.kill(pid, signal.SIGKILL)
    eventually("the cluster has ended", lambda: not own.status().components)
    assert not own.is_up()

    begin = time.monotonic()
    assert own.up(["node"])
    assert time.monotonic() - begin < 30
    assert kubectl(own, "get", "pods", "--all-namespaces", "-o", "name") == ""
    _run_a_pod(own)
    own.down()
    assert _traces() == before


def test_it_ends_with_the_process_that_holds_its_lifeline(own: EmbeddedCluster) -> None:
    before = _traces()
    program = f"""
        import time
        from pathlib import Path
        from tests.cluster.embedded import EmbeddedCluster
        EmbeddedCluster(Path({str(OWN)!r}), {OWN_STORE!r}).up(["api"], lifeline=True)
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
    finally:
        holder.kill()
        holder.wait()
    eventually("the cluster has ended", lambda: not own.is_up())
    own.down()
    eventually("nothing is left", lambda: _traces() == before)


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


def _exists(cluster: EmbeddedCluster, name: str) -> bool:
    return kubectl(cluster, "get", name, "--ignore-not-found", "-o", "name") != ""


def _traces() -> dict[str, Any]:
    """What clusters leave on a machine: all of it, so that a difference is what one has left."""
    commands = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                commands.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    nat = subprocess.run(["iptables", "-t", "nat", "-S"], capture_output=True, text=True).stdout
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True).stdout
    return {
        "processes": sum(str(OWN) in command for command in commands),
        "mounts": sorted(
            line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ),
        "links": sorted(line.split()[0].split("@")[0] for line in links.splitlines()),
        "routes": sorted(routes.splitlines()),
        "rules": [line for line in nat.splitlines() if EGRESS_COMMENT in line],
        "cgroups": sorted(str(path) for path in CGROUPS.glob("*/deepseek-operator-*")),
        "files": (OWN / "pki").exists() or (OWN / "data").exists(),
    }
