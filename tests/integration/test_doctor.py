"""`deepseek doctor` against a real API server: optional kinds, permissions, connection failures."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.cli.live.installed import LEASES
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.support.command import Result, deepseek, kubeconfig_of
from tests.support.foreign_kind import ForeignKind
from tests.support.kube import Kube, resource
from tests.support.operator_process import OperatorProcess

MONITOR = ForeignKind("PodMonitor", "monitoring.coreos.com", "v1")
CRD = "deepseekdeployments.deepseek-operator.io"


def rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in result.data["checks"]}


def doctor(kube: Kube, *options: object) -> dict[str, dict[str, Any]]:
    found = deepseek(kube.target.kubeconfig, "doctor", "-n", kube.namespace, "-o", "json", *options)
    assert found.code in (0, 1), found.err
    return rows(found)


@pytest.fixture
def monitors(api_server: Target) -> Iterator[None]:
    MONITOR.install(api_server)
    yield
    MONITOR.remove(api_server)


@pytest.fixture
def stranger(kube: Kube, tmp_path: Path) -> Path:
    """Kubeconfig of a service account without permissions."""
    kube.run("create", "serviceaccount", "stranger")
    token = kube.run("create", "token", "stranger").strip()
    return kubeconfig_of(kube.target.kubeconfig, tmp_path / "stranger", token)


@pytest.fixture
def bare(kube: Kube) -> Kube:
    """A cluster without an operator; leases of other tests' operators are deleted."""
    ours = f"--field-selector=metadata.name={LEASES}"
    kubectl(kube.target, "delete", "lease", "--all-namespaces", ours)
    return kube


def test_a_cluster_without_the_operator(bare: Kube) -> None:
    found = doctor(bare)
    assert found["Kubernetes"]["state"] == "ok"
    assert found["CRD"]["state"] == "ok", found["CRD"]
    assert found["operator"]["state"] == "problem"
    assert "helm install" in found["operator"]["do"]
    assert found["NetworkPolicy"]["state"] == "unknown"
    assert "Not installed" in found["Prometheus operator"]["message"]
    assert found["your rights"]["state"] == "ok"


def test_the_checks_as_a_table(bare: Kube) -> None:
    found = deepseek(bare.target.kubeconfig, "doctor", "-n", bare.namespace)
    assert found.code == 1
    assert "The operator is not installed." in found.out
    assert "1 problem" in found.out


def test_an_operator_outside_the_cluster_and_an_installed_optional_kind(
    kube: Kube, operator: OperatorProcess, monitors: None
) -> None:
    found = doctor(kube)
    assert "outside the cluster" in found["operator"]["message"]
    assert "operator-0 is the leader" in found["leader"]["message"]
    assert found["Prometheus operator"]["message"].startswith("Installed; ")


def test_a_missing_api_that_a_resource_needs_is_a_problem(kube: Kube) -> None:
    kube.apply(resource("r1", observability={"podMonitor": True}))
    found = doctor(kube)["Prometheus operator"]
    assert (found["state"], "r1 (observability.podMonitor)" in found["message"]) == (
        "problem",
        True,
    )


def test_held_gpus_and_a_tainted_node_are_reported(kube: Kube) -> None:
    name = f"node-{kube.namespace}"
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    labels = {"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/cuda.driver.major": "550"}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": [taint]},
        },
    )
    status = {"allocatable": {"nvidia.com/gpu": "8"}, "capacity": {"nvidia.com/gpu": "8"}}
    patch = json.dumps({"status": status})
    try:
        kube.run("patch", "node", name, "--subresource=status", "--type=merge", "--patch", patch)
        container = {
            "name": "c",
            "image": "i",
            "resources": {"limits": {"nvidia.com/gpu": "8"}},
        }
        kube.run("create", "serviceaccount", "default")
        kube.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "train"},
                "spec": {
                    "nodeName": name,
                    "containers": [container],
                    "tolerations": [{"operator": "Exists"}],
                },
            }
        )
        found = deepseek(kube.target.kubeconfig, "doctor", "-n", kube.namespace, "-o", "json").data[
            "checks"
        ]
        reported = [(row["check"], row["state"], row["message"]) for row in found]
        assert ("GPUs", "ok", "1 of 1 nodes have GPUs: 8 x nvidia.com/gpu.") in reported
        held = f"0 of 8 are free; held by pod {kube.namespace}/train (8)."
        assert ("free GPUs", "warning", held) in reported
        assert any(check == "GPU driver" and state == "problem" for check, state, _ in reported)
        assert any(
            "tolerates the taint nvidia.com/gpu:NoSchedule" in expected for *_, expected in reported
        )
        assert any("are not ready" in expected for *_, expected in reported)
    finally:
        kube.run("delete", "pod", "train", "--ignore-not-found", "--force", "--grace-period=0")
        kube.run("delete", "node", name)


def test_a_crd_of_another_release_is_a_warning(kube: Kube) -> None:
    live = json.loads(kubectl(kube.target, "get", "crd", CRD, "--output=json"))
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/rollout"
    schema = live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    before = schema["properties"]["spec"]["properties"]["rollout"]
    kubectl(kube.target, "patch", "crd", CRD, "--type=json", "--patch",
            json.dumps([{"op": "remove", "path": path}]))  # fmt: skip
    try:
        found = doctor(kube)["CRD"]
        assert found["state"] == "warning"
        assert "missing spec.rollout." in found["message"]
    finally:
        kubectl(kube.target, "patch", "crd", CRD, "--type=json", "--patch",
                json.dumps([{"op": "add", "path": path, "value": before}]))  # fmt: skip
    assert doctor(kube)["CRD"]["state"] == "ok"


def test_missing_permissions_are_named(kube: Kube, stranger: Path) -> None:
    found = deepseek(stranger, "doctor", "-n", kube.namespace, "-o", "json")
    assert found.code == 0, "unknown states count as problems"
    reported = rows(found)
    for check, right in (
        ("CRD", "get customresourcedefinitions"),
        ("operator", "list deployments in all namespaces"),
        ("leader", "list leases in all namespaces"),
        ("GPUs", "list nodes"),
        ("storage", "list storageclasses"),
        ("custom metrics", "list apiservices"),
        ("namespace", "get namespaces"),
    ):
        assert reported[check]["state"] == "unknown", reported[check]
        assert f"Ask for permission to {right}." == reported[check]["do"]
    assert reported["Kubernetes"]["state"] == "ok"
    assert reported["your rights"]["state"] == "warning"
    assert "create, update, patch, delete" in reported["your rights"]["do"]


def test_an_invalid_token_is_reported(kube: Kube, tmp_path: Path) -> None:
    wrong = kubeconfig_of(kube.target.kubeconfig, tmp_path / "wrong", "expired")
    found = deepseek(wrong, "doctor", "-o", "json")
    assert found.code == 1
    (row,) = found.data["checks"]
    assert (row["check"], row["state"]) == ("API server", "problem")
    assert "log in again" in row["message"]


def test_an_unreachable_api_server_is_reported(kube: Kube, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{probe.getsockname()[1]}"
    gone = kubeconfig_of(kube.target.kubeconfig, tmp_path / "gone", "any", url)
    found = deepseek(gone, "doctor")
    assert found.code == 1
    assert "can't be reached" in found.out


def test_a_missing_context_or_kubeconfig_is_refused(kube: Kube, tmp_path: Path) -> None:
    found = deepseek(kube.target.kubeconfig, "doctor", "--context", "nowhere")
    assert (found.code, found.out) == (2, "")
    assert "context nowhere" in found.err
    assert "kubectl config get-contexts" in found.err
    assert deepseek(tmp_path / "none", "doctor").code == 2
    broken = tmp_path / "broken"
    broken.write_text("a: [")
    assert deepseek(broken, "doctor").code == 2


def test_a_context_can_be_chosen_by_name(kube: Kube) -> None:
    assert doctor(kube, "--context", "deepseek-operator")["Kubernetes"]["state"] == "ok"


def test_a_missing_namespace_and_a_restricted_one_are_reported(kube: Kube) -> None:
    level = "pod-security.kubernetes.io/enforce=restricted"
    kube.run("label", "namespace", kube.namespace, level)
    assert "enforces restricted" in doctor(kube)["namespace"]["message"]
    missing = doctor(kube, "-n", "nowhere")["namespace"]
    assert (missing["state"], missing["do"].split(",")[0]) == (
        "problem",
        "kubectl create namespace nowhere",
    )
