"""Children of a resource with two sets of pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.progressive import canary
from deepseek_operator.plan.progressive.pod_sets import PodSets, desired_sets
from deepseek_operator.plan.progressive.progression import ProgressiveInput, SetView, Traffic
from deepseek_operator.plan.progressive.revision import Revision
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.state.labels import (
    BLUE,
    GREEN,
    INSTANCE,
    NAME,
    REVISION,
    ROLLOUT_STATE,
    Color,
    color_of,
)
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.render.reuse import Renderer
from deepseek_operator.render.sets import children
from tests.support.operator.resources import SETTINGS, resource
from tests.support.operator.simulated_progression import START

Object = dict[str, Any]
STATE = RolloutState(BLUE, "aaaaaaaaaa", "bbbbbbbbbb")
REVISIONS = (Revision("aaaaaaaaaa", {"model": {}}, 1), Revision("bbbbbbbbbb", {"model": {}}, 2))
SHARED = Traffic({BLUE: 90, GREEN: 10}, (BLUE, GREEN))
SERVED = frozenset({"LeaderWorkerSet"})


def desired_state_of(color: Color = BLUE, revision: str = "", **spec: Any) -> DesiredState:
    found = decide(resource(**spec), SETTINGS, Observed(served=SERVED))
    assert isinstance(found, DesiredState), found
    return replace(found, color=color, revision=revision)


def made(sets: PodSets) -> dict[tuple[str, str], Object]:
    return {
        (child["kind"], child["metadata"]["name"]): child
        for child in children(sets, Renderer().children)
    }


def two(traffic: Traffic = SHARED, **spec: Any) -> dict[tuple[str, str], Object]:
    active = desired_state_of(BLUE, "aaaaaaaaaa")
    preview = desired_state_of(GREEN, "bbbbbbbbbb", **spec)
    return made(PodSets(active, preview, traffic, STATE, REVISIONS))


def test_children_without_a_record_are_those_of_a_single_target() -> None:
    only = desired_state_of()
    assert children(PodSets(only), Renderer().children) == Renderer().children(only)


def test_each_set_has_its_own_pods_and_config_and_shares_the_rest() -> None:
    assert [name for name in two() if name[0] != "ControllerRevision"] == [
        ("ServiceAccount", "r1"),
        ("ConfigMap", "r1"),
        ("Service", "r1"),
        ("PodDisruptionBudget", "r1"),
        ("NetworkPolicy", "r1"),
        ("Service", "r1-blue"),
        ("Service", "r1-green"),
        ("ConfigMap", "r1-green"),
        ("Deployment", "r1"),
        ("Deployment", "r1-green"),
    ]


def test_choosing_a_strategy_keeps_the_running_pods() -> None:
    """A new pod label would replace all pods of all installations."""
    before = {child["kind"]: child for child in Renderer().children(desired_state_of())}[
        "Deployment"
    ]
    after = made(
        PodSets(
            desired_state_of(BLUE, "aaaaaaaaaa"),
            None,
            SHARED,
            RolloutState(BLUE, "aaaaaaaaaa"),
            REVISIONS[:1],
        )
    )
    assert after["Deployment", "r1"]["spec"] == before["spec"]
    assert after["Deployment", "r1"]["metadata"]["annotations"][REVISION] == "aaaaaaaaaa"


def test_selectors_distinguish_the_pods_of_each_set() -> None:
    children = two()
    pods = {
        name: children["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        for name in ("r1", "r1-green")
    }
    assert {color_of(labels) for labels in pods.values()} == {BLUE, GREEN}
    for name, color in (("r1", "blue"), ("r1-green", "green")):
        chosen = children["Service", f"r1-{color}"]["spec"]["selector"].items()
        assert [preview for preview in pods if chosen <= pods[preview].items()] == [name]
    green = children["Deployment", "r1-green"]["spec"]["selector"]["matchLabels"].items()
    assert green <= pods["r1-green"].items()
    assert not green <= pods["r1"].items()
    assert children["Deployment", "r1-green"]["spec"]["template"]["spec"]["volumes"][0] == {
        "name": "config",
        "configMap": {"name": "r1-green"},
    }


def test_client_service_selects_by_traffic_and_stores_the_record() -> None:
    shared = two()["Service", "r1"]
    assert shared["spec"]["selector"] == {NAME: "r1"}
    assert RolloutState.parse(shared["metadata"]["annotations"][ROLLOUT_STATE]) == STATE
    alone = two(Traffic({BLUE: 100, GREEN: 0}, (BLUE,)))["Service", "r1"]
    assert alone["spec"]["selector"] == {NAME: "r1", INSTANCE: "r1"}
    switched = two(Traffic({BLUE: 0, GREEN: 100}, (GREEN,)))["Service", "r1"]
    assert switched["spec"]["selector"] == {NAME: "r1", INSTANCE: "r1-green"}


def test_network_policy_lets_both_sets_reach_their_weights() -> None:
    preview = {
        "model": {"id": "m", "source": {"huggingFace": {"endpoint": "http://hub.apps:8080"}}}
    }
    policies = two(**preview)
    egress = policies["NetworkPolicy", "r1"]["spec"]["egress"]
    ports = {port["port"] for rule in egress for port in rule.get("ports", [])}
    assert 443 in ports
    assert any("to" in rule for rule in egress), "the hub of the second set is in the cluster"


def test_sets_of_multi_pod_replicas_have_their_own_groups() -> None:
    split = {"accelerator": {"profile": "nvidia-h200"}, "parallelism": {"tensor": 8, "pipeline": 2},
             "engine": {"type": "vllm"}}  # fmt: skip
    active = desired_state_of(BLUE, "aaaaaaaaaa", **split)
    preview = desired_state_of(GREEN, "bbbbbbbbbb", **split)
    children = made(PodSets(active, preview, SHARED, STATE, REVISIONS))
    groups = [name for kind, name in children if kind == "LeaderWorkerSet"]
    assert groups == ["r1-gang", "r1-green-gang"]
    leader = children["LeaderWorkerSet", "r1-green-gang"]["spec"]["leaderWorkerTemplate"]
    assert color_of(leader["workerTemplate"]["metadata"]["labels"]) == GREEN
    assert (
        children["Service", "r1-green"]["spec"]["selector"]["deepseek-operator.io/role"] == "leader"
    )


def test_sets_of_different_kinds_do_not_share_a_service() -> None:
    split = {"accelerator": {"profile": "nvidia-h200"}, "parallelism": {"tensor": 8, "pipeline": 2},
             "engine": {"type": "vllm"}}  # fmt: skip
    children = two(**split)
    assert ("LeaderWorkerSet", "r1-green-gang") in children
    assert children["Service", "r1"]["spec"]["selector"][INSTANCE] == "r1"


def test_revision_is_an_object_owned_by_the_resource() -> None:
    children = two()
    found = children["ControllerRevision", "r1-bbbbbbbbbb"]
    assert found["revision"] == 2
    assert found["metadata"]["labels"][REVISION] == "bbbbbbbbbb"
    assert found["metadata"]["ownerReferences"][0]["uid"] == "u-1"


@pytest.mark.parametrize("color", [BLUE, GREEN])
def test_autoscaler_targets_the_serving_set(color: Color) -> None:
    active = desired_state_of(color, "aaaaaaaaaa", scaling={"maxReplicas": 4})
    children = made(PodSets(active, None, SHARED, RolloutState(color, "aaaaaaaaaa"), REVISIONS[:1]))
    name = "r1" if color == BLUE else "r1-green"
    scaler = children["HorizontalPodAutoscaler", "r1"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == name
    assert "replicas" not in children["Deployment", name]["spec"]


@pytest.mark.parametrize(("api", "kind"), [
    ("VirtualService", "VirtualService"),
    ("HTTPRoute", "HTTPRoute"),
])  # fmt: skip
def test_route_splits_requests_by_the_weight_of_the_step(api: str, kind: str) -> None:
    served = frozenset({api})
    found = decide(resource(routing={"hosts": ["r1.test"]}), SETTINGS, Observed(served=served))
    assert isinstance(found, DesiredState)
    steps = [{"weight": 7, "pause": "5m"}]
    inputs = ProgressiveInput(
        rules=Rollout.model_validate({"strategy": "canary", "canary": {"steps": steps}}),
        newest="bbbbbbbbbb",
        wanted=1,
        stable=SetView("aaaaaaaaaa", True, 1, 1, 1, 1),
        candidate=SetView("bbbbbbbbbb", True, 1, 1, 1, 1),
        now=START,
        routed=True,
    )
    targets = {"aaaaaaaaaa": found, "bbbbbbbbbb": found}
    known = {revision.name: revision for revision in REVISIONS}
    shared, _ = desired_sets(canary, STATE, inputs, targets, known)
    spec = made(shared)[kind, "r1"]["spec"]
    (rule,) = spec["http"] if kind == "VirtualService" else spec["rules"]
    places = rule["route"] if kind == "VirtualService" else rule["backendRefs"]
    shares = {json.dumps(place): place["weight"] for place in places}
    assert [
        (name, weight)
        for text, weight in shares.items()
        for name in ("r1-blue", "r1-green")
        if name in text
    ] == [("r1-blue", 93), ("r1-green", 7)]
    alone, _ = desired_sets(canary, STATE.withdrawn(), inputs, targets, known)
    text = json.dumps(made(alone)[kind, "r1"]["spec"])
    assert "r1-blue" not in text
    assert "r1-green" not in text
