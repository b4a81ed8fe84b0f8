"""Fields that podTemplate may change, and fields that it must not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.plan.desired.validation import POD_TEMPLATE_CONFLICT
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.render.children import children
from tests.support.operator.resources import SETTINGS, resource
from tests.unit.operator.render.test_children import made, pod_of, server_of


def server(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "server", **fields}]}}


def refusal(template: dict[str, Any]) -> str | None:
    decision = decide(resource(podTemplate=template), SETTINGS, Observed())
    if not isinstance(decision, Refusal):
        return None
    assert decision.reason == POD_TEMPLATE_CONFLICT
    return decision.message


CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"metadata": {"labels": {"deepseek-operator.io/name": "x"}}}, "metadata.labels"),
    ({"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}}, "managed-by"),
    ({"metadata": {"annotations": {"deepseek-operator.io/config-hash": "x"}}}, "annotations"),
    ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers must be a list"),
    ({"spec": {"containers": None}}, "spec.containers must be a list"),
    ({"spec": {"containers": {"name": "server"}}}, "spec.containers must be a list"),
    ({"spec": {"initContainers": ["x"]}}, "spec.initContainers must be a list"),
    ({"spec": {"volumes": [{"name": 1}]}}, "spec.volumes must be a list"),
    (
        {"spec": {"containers": [{"name": "server"}, {"name": "server"}]}},
        "two items with the same name",
    ),
    ({"spec": {"replicas": 3}}, "Set spec.replicas"),
    ({"spec": {"replicas": 0}}, "Set spec.replicas"),
    ({"spec": {"hostNetwork": True}}, "hostNetwork"),
    ({"spec": {"volumes": [{"name": "config", "emptyDir": {}}]}}, "another name"),
    ({"spec": {"volumes": [{"name": "weights", "emptyDir": {}}]}}, "spec.model.source"),
    (server(image="x"), "spec.engine.image"),
    (server(command=["x"]), "spec.engine.image"),
    (server(args=["x"]), "spec.engine.args"),
    (server(args=None), "spec.engine.args"),
    (server(resources={"limits": {"nvidia.com/gpu": 4}}), "spec.accelerator.count"),
    (server(resources={"requests": {"nvidia.com/gpu": 4}}), "spec.accelerator.count"),
    (server(volumeMounts=[{"mountPath": "/etc/deepseek", "name": "x"}]), "/etc/deepseek"),
    (server(volumeMounts=[{"mountPath": "/models/", "name": "x"}]), "spec.model.source"),
    (server(ports=None), "must be a list"),
    (server(ports=[{"containerPort": 8000, "name": "web"}]), "http and 8000"),
    (server(ports=[{"containerPort": 9000, "name": "http"}]), "http and 8000"),
    (
        {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 8000}]}]}},
        "ports of container a",
    ),
    (server(readinessProbe=None), "must not be removed"),
    (server(readinessProbe={"httpGet": {"path": "/", "port": 1}}), "httpGet"),
    (server(livenessProbe={"exec": {"command": ["true"]}}), "livenessProbe"),
    (server(startupProbe={"tcpSocket": {"port": 1}}), "startupProbe"),
]

FREE: list[dict[str, Any]] = [
    {"metadata": {"labels": {"team": "a"}, "annotations": {"example.com/a": "b"}}},
    {"spec": {"hostNetwork": False, "priorityClassName": "high", "runtimeClassName": "nvidia"}},
    {"spec": {"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}]}},
    server(ports=[{"containerPort": 8000, "name": "http", "hostPort": 8000}]),
    server(ports=[{"containerPort": 9000, "name": "debug"}]),
    server(livenessProbe=None, startupProbe=None),
    server(readinessProbe={"periodSeconds": 30}),
    server(resources={"requests": {"cpu": "4"}}, env=[{"name": "A", "value": "b"}]),
    {"spec": {"containers": [{"name": "sidecar", "image": "x", "args": ["y"]}]}},
]


@pytest.mark.parametrize(("template", "text"), CONFLICTS, ids=[text for _, text in CONFLICTS])
def test_conflicts_are_refused_with_an_alternative(template: dict[str, Any], text: str) -> None:
    problem = refusal(template)
    assert problem is not None
    assert text in problem
    assert "podTemplate" in problem
    assert problem.count(". ") >= 1, "the message has an alternative"


@pytest.mark.parametrize("template", FREE)
def test_other_fields_are_accepted(template: dict[str, Any]) -> None:
    assert refusal(template) is None


def test_priority_and_runtime_class_are_applied() -> None:
    over = {"spec": {"priorityClassName": "high", "runtimeClassName": "nvidia"}}
    pod = pod_of(made(podTemplate=over))
    assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("high", "nvidia")


def test_topology_spread_can_be_made_mandatory() -> None:
    strict = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    pod = pod_of(made(podTemplate={"spec": {"topologySpreadConstraints": [strict]}}))
    ways = {
        item["topologyKey"]: item["whenUnsatisfiable"] for item in pod["topologySpreadConstraints"]
    }
    assert ways == {
        "topology.kubernetes.io/zone": "ScheduleAnyway",
        "kubernetes.io/hostname": "DoNotSchedule",
    }


def test_probes_keep_their_requests() -> None:
    probe = server_of(made(podTemplate=server(readinessProbe={"periodSeconds": 30})))[
        "readinessProbe"
    ]
    assert probe["httpGet"] == {"path": "/health/ready", "port": "http"}
    assert probe["periodSeconds"] == 30


def test_node_affinity_combines_profile_and_template() -> None:
    wanted = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [wanted]}}
    over = {"spec": {"affinity": {"nodeAffinity": required}}}
    pod = pod_of(made(podTemplate=over, accelerator={"profile": "nvidia-h200"}))
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    keys = [
        [item["key"] for item in term["matchExpressions"]] for term in terms["nodeSelectorTerms"]
    ]
    assert ["nvidia.com/gpu.product", "pool"] in keys
    assert all(pair[1:] == ["pool"] for pair in keys)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9000) | st.sampled_from(["", "server", "cache"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name", "env", "ports", "volumeMounts", "resources", "limits", "value",
                    "readinessProbe", "mountPath", "containerPort", "tolerations",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["containers", "volumes", "affinity", "tolerations", "hostNetwork"]),
        json_values | st.lists(st.fixed_dictionaries({"name": st.just("server")}, optional={
            "env": json_values, "ports": json_values, "resources": json_values,
            "volumeMounts": json_values, "livenessProbe": json_values,
        })),
        max_size=3,
    )
)  # fmt: skip
def test_any_template_is_refused_or_rendered(
    spec: dict[str, Any],
) -> None:
    decision = decide(
        resource(podTemplate={"spec": spec}, accelerator={"profile": "nvidia-h200", "count": 2}),
        SETTINGS,
        Observed(),
    )
    if not isinstance(decision, Refusal):
        assert children(decision)
