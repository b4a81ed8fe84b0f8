"""Autoscaling: objects of `spec.scaling`, handover of replicas, and the condition."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.cluster import handover
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.desired.scaling import KV_CACHE, METRICS, REQUESTS, promql
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.state.observed import AutoscalerView, DeploymentView, Observed, PodView
from deepseek_operator.plan.status.conditions import condition
from deepseek_operator.render.children import children
from tests.support.operator.resources import LATER, NOW, SETTINGS, deployment, pod, resource
from tests.support.repository import ROOT

RUNNING = {"running": {"startedAt": NOW}}


def made(observed: Observed | None = None, **scaling: Any) -> dict[str, dict[str, Any]]:
    body = resource(scaling={"maxReplicas": 4, **scaling})
    decision = decide(body, SETTINGS, observed or Observed())
    assert isinstance(decision, DesiredState)
    return {manifest["kind"]: manifest for manifest in children(decision)}


def autoscaled(wanted: int, ready: int, autoscaler: AutoscalerView | None = None) -> Observed:
    pods = [pod(f"r1-{number}", ready=number < ready, state=RUNNING) for number in range(wanted)]
    return Observed(
        DeploymentView.of(deployment(wanted)),
        tuple(PodView.of(item) for item in pods),
        autoscaler=autoscaler,
    )


def status_of(observed: Observed, before: dict[str, Any] | None = None, **scaling: Any) -> Any:
    body = resource(before, scaling={"maxReplicas": 4, **scaling})
    return report(body, decide(body, SETTINGS, observed), observed, NOW).status


def metrics(autoscaler: dict[str, Any]) -> dict[str, str]:
    return {
        item["pods"]["metric"]["name"]: item["pods"]["target"]["averageValue"]
        for item in autoscaler["spec"]["metrics"]
    }


def test_autoscaler_scales_the_deployment_by_requests_and_kv_cache() -> None:
    spec = made(minReplicas=2)["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "r1"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    assert metrics({"spec": spec}) == {"deepseek_requests": "16", "deepseek_kv_cache_percent": "80"}
    assert {item["type"] for item in spec["metrics"]} == {"Pods"}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_only_the_given_target_is_used() -> None:
    assert metrics(made(target={"requestsPerReplica": 3})["HorizontalPodAutoscaler"]) == {
        "deepseek_requests": "3"
    }


def test_scale_in_uses_the_stabilization_window() -> None:
    down = made(scaleIn={"stabilizationSeconds": 7})["HorizontalPodAutoscaler"]["spec"]["behavior"]
    assert down["scaleDown"]["stabilizationWindowSeconds"] == 7


def test_no_autoscaler_without_scaling() -> None:
    decision = decide(resource(replicas=3), SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    manifests = {manifest["kind"]: manifest for manifest in children(decision)}
    assert "HorizontalPodAutoscaler" not in manifests
    assert manifests["Deployment"]["spec"]["replicas"] == 3


def test_replicas_are_not_applied_with_scaling() -> None:
    one, three = made(autoscaled(1, 1)), made(autoscaled(3, 3))
    assert "replicas" not in one["Deployment"]["spec"]
    assert one == three


def test_keda_gets_a_scaled_object() -> None:
    served = Observed(served=frozenset({"ScaledObject"}))
    manifests = made(served, metrics="keda", prometheusAddress="http://prometheus:9090")
    assert "HorizontalPodAutoscaler" not in manifests
    spec = manifests["ScaledObject"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)
    requests, cache = spec["triggers"]
    assert requests["metricType"] == "AverageValue"
    assert requests["metadata"]["serverAddress"] == "http://prometheus:9090"
    assert requests["metadata"]["threshold"] == "16"
    assert cache["metadata"]["threshold"] == "80"
    assert cache["metadata"]["query"].endswith("* 100")
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300


NAME = st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)


@given(name=NAME, other=st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True))
def test_query_matches_only_the_pods_of_the_resource(name: str, other: str) -> None:
    """Pod names of Kubernetes: the ReplicaSet's, truncated to 58 characters, and five more."""
    pattern = re.search(r'pod=~"([^"]*)"', promql(REQUESTS, "apps", name))
    assert pattern is not None
    pods = re.compile(pattern[1])  # Prometheus anchors it, as fullmatch does

    def pod_of(resource_name: str) -> str:
        return f"{resource_name}-7c9f8d6b5d-"[:58] + "x2x4z"

    assert pods.fullmatch(pod_of(name))
    if len(name) + len(other) < 46:
        assert not pods.fullmatch(pod_of(f"{name}-{other}"))


def test_query_multiplies_a_fraction() -> None:
    assert promql(KV_CACHE, "apps", "r1").startswith(
        'sum({__name__=~"deepseek_server_kv_cache_usage_perc",namespace="apps"'
    )


def test_query_uses_the_metrics_of_the_engine() -> None:
    assert 'sum({__name__=~"vllm:num_requests_running|vllm:num_requests_waiting",' in promql(
        REQUESTS, "apps", "r1", "vllm"
    )
    # Each data-parallel rank reports a fraction: their sum would exceed 1.
    assert promql(KV_CACHE, "apps", "r1", "sglang").startswith(
        'sum(avg by (pod) ({__name__=~"sglang:token_usage",'
    )


def test_prometheus_adapter_example_has_the_same_metrics() -> None:
    values = yaml.safe_load((ROOT / "examples/prometheus-adapter/values.yaml").read_text())
    rules = {rule["name"]["as"]: rule for rule in values["rules"]["custom"]}
    assert set(rules) == set(METRICS)
    for name, metric in METRICS.items():
        query = rules[name]["metricsQuery"]
        (names,) = re.findall(r'__name__=~"([^"]+)"', query)
        known = [sample for samples in metric.samples.values() for sample in samples]
        assert names.split("|") == known
        (found,) = re.findall(r"\^\(([^)]+)\)\$", rules[name]["seriesQuery"])
        assert found.split("|") == [samples[0] for samples in metric.samples.values()]
        assert query.startswith("avg" if metric.share else "sum")
        assert query.endswith(f"* {metric.factor}")


def test_ready_compares_with_the_autoscaler_s_replicas() -> None:
    status = status_of(autoscaled(3, 3, AutoscalerView(True)))
    assert status["phase"] == "Ready: 3 of 3 replicas serve"
    assert status["replicas"] == 3
    status = status_of(autoscaled(3, 2, AutoscalerView(True)))
    assert status["phase"] == "Loading the model; 2 of 3 replicas serve"
    assert condition(status, "Ready")["status"] == "False"


def test_min_replicas_are_desired_before_the_deployment_exists() -> None:
    assert "0 of 2" not in status_of(Observed(), minReplicas=2)["phase"]
    decision = decide(resource(scaling={"minReplicas": 2, "maxReplicas": 4}), SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    assert decision.replicas == 2


@pytest.mark.parametrize(
    ("autoscaler", "served_by", "verdict"),
    [
        (None, "", ("Unknown", "Starting")),
        (AutoscalerView(), "", ("Unknown", "Starting")),
        (AutoscalerView(True, "ValidMetricFound", "ok"), "", ("True", "Active")),
        (AutoscalerView(False, "FailedGetPodsMetric", "no metrics"), "", ("False", "FailedGetPodsMetric")),
        (AutoscalerView(True), "monitoring/adapter", ("False", "MetricsApiTaken")),
    ],
)  # fmt: skip
def test_autoscaling_condition(
    autoscaler: AutoscalerView | None, served_by: str, verdict: tuple[str, str]
) -> None:
    observed = Observed(autoscaler=autoscaler, metrics_served_by=served_by)
    found = condition(status_of(observed), "Autoscaling")
    assert (found["status"], found["reason"]) == verdict
    if served_by:
        assert served_by in found["message"]
        assert "scaling.metrics: prometheusAdapter" in found["message"]


def test_foreign_metrics_api_is_accepted_with_prometheus_adapter() -> None:
    observed = Observed(autoscaler=AutoscalerView(True), metrics_served_by="monitoring/adapter")
    assert (
        condition(status_of(observed, metrics="prometheusAdapter"), "Autoscaling")["status"]
        == "True"
    )


def test_condition_is_removed_with_scaling() -> None:
    before = status_of(autoscaled(1, 1, AutoscalerView(True)))
    assert condition(before, "Autoscaling")
    body = resource(before)
    after = report(body, decide(body, SETTINGS, Observed()), Observed(), LATER).status
    assert not condition(after, "Autoscaling")


def owning(replicas: int, *fields: str) -> dict[str, Any]:
    record = {
        "manager": "deepseek-operator",
        "operation": "Apply",
        "fieldsV1": {"f:spec": {f"f:{name}": {} for name in fields}},
    }
    metadata = {"name": "r1", "namespace": "apps", "uid": "d-1", "managedFields": [record]}
    return {"metadata": metadata, "spec": {"replicas": replicas}}


def test_replicas_owned_by_the_operator_are_handed_over() -> None:
    assert handover.is_due(owning(5, "replicas", "selector"))
    given = handover.manifest(made()["Deployment"], owning(5, "replicas"), 1)
    assert given["spec"] == {"replicas": 5}
    assert given["metadata"] == {"name": "r1", "namespace": "apps", "uid": "d-1"}


def test_replicas_of_another_owner_are_left_alone() -> None:
    assert not handover.is_due(owning(5, "selector"))


def test_deployment_without_replicas_gets_min_replicas() -> None:
    assert handover.is_due(owning(0, "selector"))
    assert handover.manifest(made()["Deployment"], owning(0), 2)["spec"] == {"replicas": 2}
