"""Checks of a cluster: the finding for each fault, and no findings in a healthy cluster."""

import copy
from fractions import Fraction
from itertools import chain
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.crd import definition
from deepseek_operator.cli.doctor import apis, control_plane, gpus, operators, surroundings
from deepseek_operator.cli.doctor.command import CHECKS
from deepseek_operator.cli.doctor.drift import drift
from deepseek_operator.cli.doctor.facts import Facts
from deepseek_operator.cli.doctor.finding import Finding, Unseen, failed
from deepseek_operator.plan.rolling.capacity import Holder
from tests.support.kube import resource
from tests.support.repository import ROOT
from tests.unit.operator.cli.doctor.facts import (
    H200,
    WELL,
    but,
    lease,
    node,
    operator,
    service,
    space,
    storage,
)

CHART = ROOT / "charts/deepseek-operator/Chart.yaml"
TAINT = {"key": "team", "value": "ml", "effect": "NoSchedule"}
BEARS = {"spec": {"tolerations": [{"key": "team", "operator": "Exists"}]}}


def all_of(facts: Facts) -> list[Finding]:
    return list(chain.from_iterable(check(facts) for check in CHECKS))


def of(facts: Facts, check: str) -> list[Finding]:
    return [found for found in all_of(facts) if found.check == check]


def bad(facts: Facts) -> list[tuple[str, str]]:
    """Return the findings that a healthy cluster does not have."""
    before = all_of(WELL)
    return [
        (found.check, found.state)
        for found in all_of(facts)
        if found not in before and found.state != "ok"
    ]


def holder(number: int, name: str = "train") -> Holder:
    return Holder("apps", name, None, {"nvidia.com/gpu": Fraction(number)})


def crd(**changes: Any) -> dict[str, Any]:
    """Return the CRD with changed fields below spec.model; None removes one."""
    found = copy.deepcopy(definition())
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    model = schema["properties"]["spec"]["properties"]["model"]["properties"]
    for name, value in changes.items():
        if value is None:
            del model[name]
        else:
            model[name] = value
    return found


def test_in_a_healthy_cluster_only_network_policies_are_unknown() -> None:
    found = all_of(WELL)
    assert [(row.check, row.state) for row in found if row.state != "ok"] == [
        ("NetworkPolicy", "unknown")
    ]
    assert not failed(found)


@pytest.mark.parametrize(
    ("changes", "check", "state", "words"),
    [
        ({"version": "v1.28.9"}, "Kubernetes", "problem", "needs 1.29"),
        ({"version": ""}, "Kubernetes", "unknown", "reports no usable version"),
        ({"serves_ours": False}, "CRD", "problem", "DeepSeekDeployment is not installed"),
        ({"crd": crd(dtype=None)}, "CRD", "warning", "missing spec.model.dtype"),
        (
            {"crd": crd(size={"type": "integer"})},
            "CRD",
            "warning",
            "unknown to this command spec.model.size",
        ),
        (
            {"crd": crd(maxContext={"type": "string"})},
            "CRD",
            "warning",
            "different rules for spec.model.maxContext",
        ),
        ({"operators": (), "leases": ()}, "operator", "problem", "not installed"),
        ({"operators": ()}, "operator", "warning", "outside the cluster"),
        ({"operators": (operator(ready=0),)}, "operator", "problem", "none of 2"),
        ({"operators": (operator(ready=1),)}, "operator", "warning", "1 of 2"),
        ({"operators": (operator(version="0.2.0"),)}, "operator", "warning", "release 0.2.0"),
        (
            {"operators": (operator(), operator(namespace="b"))},
            "operator",
            "problem",
            "deepseek-system/deepseek-operator, b/deepseek-operator",
        ),
        ({"leases": ()}, "leader", "problem", "no Lease"),
        ({"leases": (lease(holder=""),)}, "leader", "problem", "There is no leader"),
        (
            {"leases": (lease(renewed="2026-01-01T11:50:00.000000Z"),)},
            "leader",
            "problem",
            "the last one was pod-1",
        ),
        ({"nodes": (node(gpus=0),)}, "GPUs", "warning", "None of 1 nodes"),
        (
            {"nodes": (node(gpus=0, labels={"nvidia.com/gpu.present": "true"}), node("b"))},
            "GPUs",
            "problem",
            "Nodes with GPUs that are not allocatable: a.",
        ),
        ({"nodes": (node(labels={}),)}, "GPU labels", "warning", "no label identifies the GPU type"),
        (
            {"nodes": (node(labels={"nvidia.com/gpu.product": "NVIDIA-X1"}),)},
            "GPU labels",
            "warning",
            "the GPU type NVIDIA-X1 (nvidia.com/gpu.product) is not in the catalogue",
        ),
        ({"usage": {"a": (holder(8),)}}, "free GPUs", "warning", "held by pod apps/train (8)"),
        ({"nodes": (node(taints=[TAINT]),)}, "GPU nodes", "warning", "taint team=ml:NoSchedule"),
        ({"nodes": (node(unschedulable=True),)}, "GPU nodes", "warning", "are cordoned"),
        (
            {"nodes": (node(labels={**H200, "nvidia.com/cuda.driver.major": "550"}),)},
            "GPU driver",
            "problem",
            "the driver is 550",
        ),
        ({"services": ()}, "custom metrics", "warning", "custom.metrics.k8s.io is not served"),
        ({"services": (service(available="False"),)}, "custom metrics", "problem", "no endpoints"),
        (
            {"services": (service(), service("metrics.k8s.io", "False"))},
            "other APIs",
            "warning",
            "v1beta2.metrics.k8s.io is not available",
        ),
        ({"allowed": {"create deepseekdeployments": False}}, "your rights", "warning", "not create"),
        ({"space": None}, "namespace", "problem", "namespace apps does not exist"),
        (
            {"space": space(**{"pod-security.kubernetes.io/enforce": "strict"})},
            "namespace",
            "warning",
            "not a valid level",
        ),
        (
            {"space": space(**{"istio.io/dataplane-mode": "ambient"})},
            "mesh",
            "warning",
            "ambient mode",
        ),
        (
            {"nodes": (node(), node("b", kubelet="v1.28.15-eks-1"))},
            "mesh",
            "warning",
            "The kubelets of b (v1.28.15-eks-1) are older than 1.29",
        ),
        ({"storage": ()}, "storage", "warning", "no StorageClass"),
        ({"storage": (storage("a"),)}, "storage", "warning", "is the default"),
        ({"storage": (storage("a", True), storage("b", True))}, "storage", "warning", "a, b"),
        ({"storage": (storage("a", True),)}, "shared storage", "unknown", "ReadWriteMany"),
    ],
)  # fmt: skip
def test_a_fault_is_reported_with_a_fix(
    changes: dict[str, Any], check: str, state: str, words: str
) -> None:
    found = next(row for row in of(but(**changes), check) if row.state == state)
    assert words in found.message
    assert found.fix or found.check == "operator" or state == "unknown"


def test_one_fault_causes_one_finding() -> None:
    assert bad(but(version="v1.20.0")) == [("Kubernetes", "problem")]
    assert bad(but(storage=())) == [("storage", "warning")]
    assert bad(but(usage={"a": (holder(8),)})) == [("free GPUs", "warning")]
    assert bad(but(nodes=(node(taints=[TAINT]),))) == [("GPU nodes", "warning")]


@pytest.mark.parametrize("kubelet", ["", "unknown", "v1.29.0", "v2.1.0", "v1.999999999999.0"])
def test_a_kubelet_with_an_unknown_or_new_version_is_accepted(kubelet: str) -> None:
    assert bad(but(nodes=(node(kubelet=kubelet),))) == []


def test_a_taint_that_a_resource_tolerates_is_accepted() -> None:
    facts = but(nodes=(node(taints=[TAINT]),), resources=(resource("r1", podTemplate=BEARS),))
    assert bad(facts) == []


def test_a_prefer_no_schedule_taint_is_accepted() -> None:
    assert bad(but(nodes=(node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]),))) == []


def test_a_missing_api_is_a_problem_only_if_a_resource_requires_it() -> None:
    served = WELL.served
    assert isinstance(served, frozenset)
    lacking = served - {"ScaledObject"}
    assert bad(but(served=lacking)) == []
    scaling = {"maxReplicas": 2, "metrics": "keda", "prometheusAddress": "http://p"}
    facts = but(served=lacking, resources=(resource("r1", scaling=scaling),))
    (found,) = of(facts, "KEDA")
    assert (found.state, "r1 (scaling.metrics: keda)" in found.message) == ("problem", True)
    assert "helm install keda" in found.fix


def test_a_partly_installed_api_is_a_warning() -> None:
    assert isinstance(WELL.served, frozenset)
    (found,) = of(but(served=WELL.served - {"PeerAuthentication"}), "Istio")
    assert (found.state, "Partly installed: PeerAuthentication" in found.message) == (
        "warning",
        True,
    )


def test_an_old_driver_on_some_nodes_is_a_warning() -> None:
    old = {**H200, "nvidia.com/cuda.driver-version.major": "550"}
    new = {**H200, "nvidia.com/cuda.driver-version.major": "580"}
    (found,) = of(but(nodes=(node("a", labels=old), node("b", labels=new))), "GPU driver")
    assert (found.state, found.message.startswith("a: the driver is 550")) == ("warning", True)


@pytest.mark.parametrize("pod", ["none", {"tolerations": "none"}, {"tolerations": [1]}])
def test_an_invalid_pod_template_tolerates_nothing(pod: Any) -> None:
    facts = but(
        nodes=(node(taints=[TAINT]),), resources=(resource("r1", podTemplate={"spec": pod}),)
    )
    assert bad(facts) == [("GPU nodes", "warning")]


def test_free_and_held_gpus_are_counted() -> None:
    (found,) = of(but(usage={"a": (holder(3), holder(1, "other"))}), "free GPUs")
    assert found.message == "4 of 8 are free; held by pod apps/train (3), pod apps/other (1)."


UNSEEN = Unseen("you may not", "list things")


@pytest.mark.parametrize(
    ("fact", "check"),
    [
        ("version", "Kubernetes"),
        ("served", "optional APIs"),
        ("crd", "CRD"),
        ("serves_ours", "CRD"),
        ("operators", "operator"),
        ("leases", "leader"),
        ("nodes", "GPUs"),
        ("usage", "free GPUs"),
        ("storage", "storage"),
        ("services", "custom metrics"),
        ("space", "namespace"),
        ("allowed", "your rights"),
    ],
)
def test_an_unreadable_fact_is_unknown_and_names_the_permission(fact: str, check: str) -> None:
    facts = but(**{fact: UNSEEN})
    (found,) = of(facts, check)
    assert found.state == "unknown"
    assert "list things" in found.fix
    assert not failed(all_of(facts))


@given(st.sets(st.sampled_from(sorted(set(vars(WELL)) - {"now", "here", "namespace"}))))
def test_unreadable_facts_neither_crash_a_check_nor_cause_a_problem(hidden: set[str]) -> None:
    found = all_of(but(**dict.fromkeys(hidden, UNSEEN)))
    assert not failed(found)


def test_the_minimum_version_matches_the_chart() -> None:
    chart = yaml.safe_load(CHART.read_text())
    assert chart["kubeVersion"] == f">={'.'.join(map(str, control_plane.OLDEST))}.0-0"


def test_drift_reports_only_the_outermost_field() -> None:
    ours = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    theirs = copy.deepcopy(ours)
    del theirs["properties"]["spec"]["properties"]["scaling"]
    found = drift(ours, theirs)
    assert (found.lacking, found.unknown) == (("spec.scaling",), ())
    assert drift(theirs, ours).unknown == ("spec.scaling",)
    assert not drift(ours, copy.deepcopy(ours)).any


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("type", "string"),
        ("minimum", 7),
        ("default", 9),
        ("x-kubernetes-validations", [{"rule": "self > 1", "message": "more"}]),
    ],
)
def test_drift_covers_types_bounds_defaults_and_rules(rule: str, value: Any) -> None:
    ours = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    theirs = copy.deepcopy(ours)
    theirs["properties"]["spec"]["properties"]["replicas"][rule] = value
    assert drift(ours, theirs).other == ("spec.replicas",)


def test_descriptions_cause_no_drift() -> None:
    ours = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    theirs = copy.deepcopy(ours)
    theirs["properties"]["spec"]["description"] = "In other words."
    assert not drift(ours, theirs).any


def test_the_checks_of_every_module_run() -> None:
    for module in (control_plane, operators, gpus, apis, surroundings):
        assert set(module.CHECKS) <= set(CHECKS)
