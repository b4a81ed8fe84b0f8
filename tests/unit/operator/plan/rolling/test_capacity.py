"""Capacity of nodes for pods, by the scheduler's rules for resources, labels and taints."""

from fractions import Fraction
from typing import Any

import pytest

from deepseek_operator.plan.rolling.capacity import (
    Demand,
    Holder,
    free_slots,
    free_slots_on,
    gpu_contention,
    is_suitable,
    quantity,
    requests,
)
from deepseek_operator.plan.state.observed import NodeView
from tests.support.operator.resources import node

GPU = "nvidia.com/gpu"


def view(body: dict[str, Any]) -> NodeView:
    return NodeView.of(body)


def demand(gpus: int = 1, **spec: Any) -> Demand:
    limits = {GPU: gpus} if gpus else {}
    return Demand.of({"containers": [{"name": "server", "resources": {"limits": limits}}], **spec})


def holder(gpus: int, name: str = "p", resource: str = "") -> Holder:
    pod = {"containers": [{"resources": {"requests": {GPU: str(gpus)}}}]}
    labels = {"deepseek-operator.io/name": resource} if resource else {}
    return Holder.of({"metadata": {"namespace": "n", "name": name, "labels": labels}, "spec": pod})


@pytest.mark.parametrize(
    ("text", "number"),
    [("8", 8), (8, 8), ("500m", Fraction(1, 2)), ("16Gi", 2**34), ("1.5k", 1500), ("1e3", 1000)],
)
def test_quantities(text: str, number: Fraction) -> None:
    assert quantity(text) == number


def test_invalid_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="much"):
        quantity("much")


def test_pod_requests_are_containers_or_the_largest_init_container() -> None:
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    assert requests({"containers": [container("1"), container("500m")]}) == {"cpu": Fraction(3, 2)}
    start = [container("1", restartPolicy="Always"), container("4"), container("2")]
    assert requests({"containers": [container("1")], "initContainers": start}) == {"cpu": 5}
    assert requests({"containers": [container("9")], "initContainers": start}) == {"cpu": 10}
    overhead = {"containers": [container("1")], "overhead": {"cpu": "1", "memory": "1Ki"}}
    assert requests(overhead) == {"cpu": 2, "memory": 1024}


def test_limit_without_a_request_counts_as_request() -> None:
    resources = {"limits": {GPU: 2, "cpu": "4"}, "requests": {"cpu": "1"}}
    assert requests({"containers": [{"resources": resources}]}) == {GPU: 2, "cpu": 1}


def test_free_slots_exclude_resources_of_other_pods() -> None:
    big = view(node("a", 8))
    assert free_slots_on(big, demand(2), [holder(4), holder(1)]) == 1
    assert free_slots_on(big, demand(2), [holder(8)]) == 0
    assert free_slots_on(big, demand(0), [holder(8)]) == 1


def test_node_of_unknown_usage_counts_as_full() -> None:
    nodes = [view(node("a", 8)), view(node("b", 4))]
    assert free_slots(demand(2), nodes, {"a": (holder(5),)}) == 1
    assert free_slots(demand(2), nodes, {"a": (), "b": (holder(1),)}) == 5


@pytest.mark.parametrize(
    ("taints", "tolerations", "fits"),
    [
        ([{"key": "a", "effect": "NoSchedule"}], [], False),
        ([{"key": "a", "effect": "PreferNoSchedule"}], [], True),
        ([{"key": "a", "effect": "NoExecute"}], [{"key": "a", "operator": "Exists"}], True),
        ([{"key": "a", "effect": "NoSchedule"}], [{"operator": "Exists"}], True),
        (
            [{"key": "a", "value": "b", "effect": "NoSchedule"}],
            [{"key": "a", "value": "b", "effect": "NoSchedule"}],
            True,
        ),
        ([{"key": "a", "value": "b", "effect": "NoSchedule"}], [{"key": "a", "value": "c"}], False),
        (
            [{"key": "a", "effect": "NoExecute"}],
            [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
            False,
        ),
    ],
)
def test_taints(taints: list[Any], tolerations: list[Any], fits: bool) -> None:
    body = node("a", 8) | {"spec": {"taints": taints}}
    assert is_suitable(view(body), demand(tolerations=tolerations)) is fits


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "zone", "operator": "DoesNotExist"}, False),
        ({"key": "memory", "operator": "Gt", "values": ["80"]}, True),
        ({"key": "memory", "operator": "Lt", "values": ["80"]}, False),
        ({"key": "absent", "operator": "Gt", "values": ["80"]}, False),
    ],
)
def test_node_affinity(expression: dict[str, Any], fits: bool) -> None:
    def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
        required = {"nodeSelectorTerms": list(terms)}
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}

    labelled = view(node("a", 8, zone="a", memory="141"))
    term = {"matchExpressions": [expression]}
    other = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
    assert is_suitable(labelled, demand(affinity=affinity(term))) is fits
    assert is_suitable(labelled, demand(affinity=affinity(other, term))) is fits
    assert is_suitable(labelled, demand(affinity=affinity({**other, **term}))) is False


def test_selector_cordon_and_size() -> None:
    body = node("a", 8, zone="a")
    assert is_suitable(view(body), demand(nodeSelector={"zone": "a"}))
    assert not is_suitable(view(body), demand(nodeSelector={"zone": "b"}))
    assert not is_suitable(view(body), demand(9))
    assert not is_suitable(view(body | {"spec": {"unschedulable": True}}), demand())


def test_usage_names_the_holders_of_devices() -> None:
    nodes = [
        view(node("a", 8)),
        view(node("b", 8)),
        view(node("unknown", 8)),
    ]
    usage = {
        "a": (holder(4, "r1-x", "r1"), holder(2, "r1-y", "r1"), holder(1, "train")),
        "b": (holder(8, "v3-x", "v3"), holder(0, "web")),
    }
    found = gpu_contention(demand(2), nodes, usage)
    assert (found.nodes, found.devices, found.total, found.free) == (("a", "b"), GPU, 16, 1)
    assert found.free_slots == 0, "the last free GPU is on a node of its own"
    assert found.holders == (
        ("DeepSeekDeployment n/v3", 8),
        ("DeepSeekDeployment n/r1", 6),
        ("pod n/train", 1),
    )


def test_usage_counts_free_devices_when_memory_is_short() -> None:
    full = node("a", 8)
    full["status"]["allocatable"]["memory"] = "16Gi"
    container = {"resources": {"limits": {GPU: 1}, "requests": {"memory": "12Gi"}}}
    greedy = Demand.of({"containers": [container]})
    other = {"containers": [{"resources": {"requests": {"memory": "8Gi"}}}]}
    holders = (Holder.of({"metadata": {"namespace": "n", "name": "p"}, "spec": other}),)
    assert free_slots(greedy, [view(full)], {"a": holders}) == 0
    found = gpu_contention(greedy, [view(full)], {"a": holders})
    assert found.free_slots == 8
