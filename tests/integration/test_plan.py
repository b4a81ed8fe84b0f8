"""`deepseek plan` and `render` with a cluster: its state, and the diff, which changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import Result, deepseek, kubeconfig_of
from tests.support.kube import CHILDREN, Kube, eventually, resource
from tests.support.operator_process import OperatorProcess

KINDS = ",".join((*CHILDREN, "hpa", "controllerrevision", "dsd", "events"))
SEVEN = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
# The settings with which operator_process.py starts the operator.
VARIABLES = {"DSO_SERVER_IMAGE": "server:test"}
H200 = {"profile": "nvidia-h200"}


class Planner:
    """The command, with the Deployment of an installed operator that does not run."""

    def __init__(self, kube: Kube, folder: Path):
        self.kube, self.file = kube, folder / "file.yaml"
        env = [{"name": name, "value": value} for name, value in VARIABLES.items()]
        container = {"name": "operator", "image": "operator:test", "env": env}
        labels = {"app.kubernetes.io/name": "deepseek-operator"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        kube.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "installed", "labels": labels},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            }
        )

    def run(self, command: str, body: Any, *options: object, who: Path | None = None) -> Result:
        self.file.write_text(yaml.safe_dump(body))
        own = ("--namespace", self.kube.namespace, "--operator-namespace", self.kube.namespace)
        config = who or self.kube.target.kubeconfig
        return deepseek(config, command, self.file, *own, *options)

    def plan(self, body: Any, *options: object) -> Result:
        return self.run("plan", body, "--context", ".", "-o", "json", *options)

    def diff(self, body: Any) -> Result:
        """Run `plan --diff`, and check that it changes nothing."""
        before = self.versions()
        found = self.run("plan", body, "--diff", "-o", "json")
        assert self.versions() == before
        return found

    def versions(self) -> dict[str, str]:
        """Return the resource version of every object in the namespace."""
        items = json.loads(self.kube.run("get", KINDS, "--output", "json"))["items"]
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in items
        }


@pytest.fixture
def planner(kube: Kube, tmp_path: Path) -> Iterator[Planner]:
    yield Planner(kube, tmp_path)
    kube.run("delete", "deployment", "installed")


def changes(result: Result) -> dict[tuple[str, str], str]:
    return {(row["change"], row["kind"]): row["diff"] for row in result.data["changes"]}


def settled(kube: Kube, name: str, generation: int) -> None:
    def seen() -> bool:
        status = (kube.get("dsd", name) or {}).get("status", {})
        return bool(status.get("observedGeneration") == generation)

    eventually("the operator has reconciled", seen)


def test_the_diff_matches_what_the_operator_writes(
    planner: Planner, operator: OperatorProcess
) -> None:
    kube = planner.kube
    new = planner.diff(resource("r1"))
    assert new.code == 3
    assert {what for what, _ in changes(new)} == {"create"}
    assert {"Deployment", "ConfigMap", "Service"} <= {kind for _, kind in changes(new)}
    assert kube.get("deployment", "r1") is None

    kube.apply(resource("r1"))
    settled(kube, "r1", 1)
    eventually("children", lambda: kube.get("deployment", "r1"))
    same = planner.diff(resource("r1"))
    assert (same.code, same.data) == (0, {"different": False, "changes": []})

    edited = resource("r1", replicas=2, model={"id": SEVEN, "maxContext": 4096})
    found = planner.diff(edited)
    assert found.code == 3
    reported = changes(found)
    assert "+  replicas: 2" in reported["update", "Deployment"]
    assert "4096" in reported["update", "ConfigMap"]
    assert ("update", "ServiceAccount") not in reported

    kube.apply(edited)
    settled(kube, "r1", 2)
    after = planner.diff(edited)
    assert (after.code, after.out) == (0, after.out), after.out
    live = kube.get("deployment", "r1")
    assert live is not None
    signature = live["metadata"]["annotations"]["deepseek-operator.io/manifest-hash"]
    assert (
        f"+    deepseek-operator.io/manifest-hash: {signature}" in reported["update", "Deployment"]
    )


def test_the_diff_shows_deletions_and_the_handover_to_an_autoscaler(
    planner: Planner, operator: OperatorProcess
) -> None:
    kube = planner.kube
    kube.apply(resource("r1", replicas=3))
    settled(kube, "r1", 1)
    eventually("children", lambda: kube.get("deployment", "r1"))
    scaled = resource("r1", scaling={"minReplicas": 1, "maxReplicas": 4})
    reported = changes(planner.diff(scaled))
    assert ("create", "HorizontalPodAutoscaler") in reported
    assert "replicas: 1" not in reported.get(("update", "Deployment"), "")
    kube.run("delete", "dsd", "r1")
    for kind in ("deployment", "service", "configmap", "serviceaccount", "pdb", "networkpolicy"):
        kube.run("delete", kind, "r1", "--ignore-not-found")
    kube.apply(scaled)
    eventually("an autoscaler", lambda: kube.get("hpa", "r1"))
    settled(kube, "r1", 1)
    reported = changes(planner.diff(resource("r1")))
    assert "+++ /dev/null" in reported["delete", "HorizontalPodAutoscaler"]
    assert kube.get("hpa", "r1") is not None


def test_the_diff_as_text(planner: Planner) -> None:
    found = planner.run("plan", resource("r1"), "--diff")
    assert found.code == 3
    assert "--- /dev/null\n+++ planned/Deployment/r1\n" in found.out
    assert "managedFields" not in found.out


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"model": {"id": "deepseek-ai/DeepSeek-V1.5"}},
        {"accelerator": {"profile": "nvidia-x1"}},
        {"model": {"id": "deepseek-ai/DeepSeek-R1"}, "accelerator": {"profile": "nvidia-l4"}},
        {"accelerator": {"profile": "nvidia-l4"}, "parallelism": {"tensor": 3}},
        {"observability": {"podMonitor": True}},
        {"scheduling": {"queue": "gpus"}},
        {"engine": {"type": "vllm"}},
        {"engine": {"type": "vllm", "args": ["--model", "x"]}, "accelerator": H200},
        {"podTemplate": {"spec": {"hostNetwork": True}}},
        {"scaling": {"maxReplicas": 2, "metrics": "keda", "prometheusAddress": "http://p"}},
        {"rollout": {"strategy": "canary"}, "accelerator": H200},
        {"model": {"id": "tiny", "source": {"hostPath": {"path": "/models"}}}},
        {"podTemplate": {"spec": {"tolerations": "none"}}},
    ],
    ids=lambda spec: ",".join(spec) or "nothing",
)
def test_plan_accepts_and_refuses_like_the_operator(
    spec: dict[str, Any], planner: Planner, operator: OperatorProcess
) -> None:
    kube, body = planner.kube, resource("r1", **spec)
    planned, tried = planner.plan(body), planner.diff(body)
    kube.apply(body)
    reported = eventually("a verdict", lambda: kube.condition("r1", "Accepted"))
    if reported["status"] == "True":
        assert (planned.code, tried.code) == (0, 3), planned.err + tried.err
        return
    expected = {"accepted": False, "reason": reported["reason"], "message": reported["message"]}
    assert (tried.code, tried.data) == (1, expected)
    if reported["reason"] != "ChildRejected":  # only a dry run shows what the API server rejects
        assert (planned.code, planned.data) == (1, expected)


@pytest.fixture
def node(kube: Kube) -> Iterator[str]:
    """A node with eight GPUs."""
    name = f"node-{kube.namespace}"
    labels = {"nvidia.com/gpu.product": "NVIDIA-H200", "test": kube.namespace}
    kube.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    sizes = {"nvidia.com/gpu": "8", "cpu": "96", "memory": "1Ti", "ephemeral-storage": "9Ti"}
    status = json.dumps({"status": {"allocatable": sizes, "capacity": sizes}})
    kube.run("patch", "node", name, "--subresource=status", "--type=merge", "--patch", status)
    # The API server taints a node whose kubelet has not reported that it is ready.
    kube.run("patch", "node", name, "--type=merge", "--patch", '{"spec": {"taints": null}}')
    kube.run("create", "serviceaccount", "default")
    yield name
    kube.run("delete", "pods", "--all", "--force", "--grace-period=0")
    kube.run("delete", "node", name)


def holder(name: str, node: str, number: int) -> dict[str, Any]:
    resources = {"limits": {"nvidia.com/gpu": str(number)}}
    spec = {
        "nodeName": node,
        "containers": [{"name": "c", "image": "i", "resources": resources}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_plan_reports_free_gpus_and_whether_a_rollout_can_surge(
    planner: Planner, node: str
) -> None:
    kube = planner.kube
    chosen = {"spec": {"nodeSelector": {"test": kube.namespace}}}
    gpus = {"accelerator": {"profile": "nvidia-h200", "count": 4}, "podTemplate": chosen}
    room = planner.plan(resource("r1", **gpus)).data["room"]
    assert (room["nodes"], room["replicasThatFit"], room["enough"]) == ([node], 2, True)
    assert room["rollout"]["surge"], "one replica, and room for its successor"

    kube.apply(holder("train", node, 4))
    room = planner.plan(resource("r1", **gpus)).data["room"]
    assert (room["replicasThatFit"], room["replicasMissing"], room["enough"]) == (1, 1, True)
    assert not room["rollout"]["surge"]
    assert room["rollout"]["reason"] == "NoGpuFree"
    assert room["gpus"]["free"] == 4
    assert room["gpus"]["holders"] == [{"who": f"pod {kube.namespace}/train", "number": 4}]

    room = planner.plan(resource("r1", replicas=2, **gpus)).data["room"]
    assert (room["replicasMissing"], room["enough"]) == (2, False)
    page = planner.run("plan", resource("r1", replicas=2, **gpus), "--context", ".")
    assert "1 more replica(s) fit, 2 needed: insufficient" in page.out
    assert f"held by pod {kube.namespace}/train (4)" in page.out


def test_rendered_manifests_match_those_that_the_operator_applies(
    planner: Planner, operator: OperatorProcess
) -> None:
    kube = planner.kube
    kube.apply(resource("r1"))
    eventually("children", lambda: kube.get("deployment", "r1"))
    settled(kube, "r1", 1)
    found = planner.run("render", resource("r1"), "--context", ".")
    assert found.code == 0, found.err
    for child in yaml.safe_load_all(found.out):
        live = kube.get(child["kind"], child["metadata"]["name"])
        assert live is not None, child["kind"]
        name = "deepseek-operator.io/manifest-hash"
        assert live["metadata"]["annotations"][name] == child["metadata"]["annotations"][name]


def test_a_missing_permission_is_named(planner: Planner, tmp_path: Path) -> None:
    kube = planner.kube
    kube.run("create", "serviceaccount", "stranger")
    token = kube.run("create", "token", "stranger").strip()
    who = kubeconfig_of(kube.target.kubeconfig, tmp_path / "stranger", token)
    for options in (("--context", "."), ("--diff",)):
        found = planner.run("plan", resource("r1"), *options, who=who)
        assert found.code == 4
        assert 'cannot list resource "deployments"' in found.err
    # Permissions to read everything and to write resources, but not their children.
    subject = f"--serviceaccount={kube.namespace}:stranger"
    for what, verbs, kinds in (
        ("reader", "get,list", "*.*"),
        ("writer", "create,update", "deepseekdeployments"),
    ):
        name = f"{what}-{kube.namespace}"
        kube.run("create", "clusterrole", name, f"--verb={verbs}", f"--resource={kinds}")
        kube.run("create", "clusterrolebinding", name, f"--clusterrole={name}", subject)
    found = planner.run("plan", resource("r1"), "--diff", who=who)
    assert found.code == 4
    assert "cannot patch resource" in found.err, found.err


def test_conflicting_options_and_a_missing_operator_are_refused(kube: Kube, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(resource("r1")))
    config = kube.target.kubeconfig
    both = deepseek(config, "plan", file, "--context", ".", "--served", "none")
    assert (both.code, "leave them out with --context" in both.err) == (2, True)
    alone = deepseek(config, "plan", file, "--context", ".", "--operator-namespace", "nowhere")
    assert (alone.code, "No operator is installed" in alone.err) == (4, True)
    named = deepseek(config, "plan", file, "--context", ".", "--server-image", "server:test")
    assert named.code == 0, named.err


def test_a_missing_namespace_is_refused(planner: Planner) -> None:
    body = resource("r1")
    body["metadata"]["namespace"] = "nowhere"
    planner.run("plan", body)  # writes the file
    file = planner.file
    options = ("--diff", "--operator-namespace", planner.kube.namespace)
    found = deepseek(planner.kube.target.kubeconfig, "plan", file, *options)
    assert (found.code, "The namespace does not exist" in found.err) == (2, True)


def test_the_diff_reports_values_that_only_the_api_server_checks(planner: Planner) -> None:
    found = planner.diff(resource("r1", routing={"hosts": ["*.example.com"]}))
    assert found.code != 0
    assert "spec.routing.hosts[0]" in found.err
