"""Capacity of nodes for another pod: its requests against the resources that are left.

The pod's own manifest is used, so changes by `podTemplate` count. The rules are those of the Kubernetes
scheduler for resources, node selector, required node affinity and taints. Its other rules (topology,
volumes, pod affinity) are not modelled; they show when the scheduler finds no node in spite of this.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from deepseek_operator.plan.state.labels import NAME
from deepseek_operator.plan.state.observed import GpuContention, NodeView

Object = Mapping[str, Any]
Amounts = dict[str, Fraction]

UNITS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY_UNITS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str | int) -> Fraction:
    """Parse a Kubernetes quantity (`500m`, `16Gi`, `8`, `1e3`).

    Raises:
        ValueError: The text is not a quantity.
    """
    text = str(text)
    if text[-2:] in BINARY_UNITS:
        return Fraction(text[:-2]) * Fraction(2) ** BINARY_UNITS[text[-2:]]
    if text[-1:] in UNITS:
        return Fraction(text[:-1]) * Fraction(10) ** UNITS[text[-1]]
    return Fraction(text)


def requests(pod_spec: Object) -> Amounts:
    """Return the effective requests of a pod: its containers together, or its largest init container.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    total: Amounts = defaultdict(Fraction)
    for container in pod_spec.get("containers", []):
        _add(total, _container_requests(container))
    start: Amounts = defaultdict(Fraction)
    sidecars: Amounts = defaultdict(Fraction)
    for container in pod_spec.get("initContainers", []):
        requested = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, requested)
            _add(total, requested)
            requested = {}
        for name in {*requested, *sidecars}:
            start[name] = max(start[name], sidecars[name] + requested.get(name, 0))
    for name, amount in start.items():
        total[name] = max(total[name], amount)
    _add(total, {name: quantity(text) for name, text in pod_spec.get("overhead", {}).items()})
    return {name: amount for name, amount in total.items() if amount}


def _container_requests(container: Object) -> Amounts:
    """Return the requests of a container; a limit without a request counts as request."""
    resources = container.get("resources") or {}
    requested = {**resources.get("limits", {}), **resources.get("requests", {})}
    return {name: quantity(text) for name, text in requested.items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] += amount


@dataclass(frozen=True)
class Demand:
    """The requirements of a pod on its node.

    Attributes:
        amounts: Requests by resource name.
        selector: Labels that the node must have.
        terms: Required node affinity: one term must match; empty: any node.
        tolerations: Tolerations of the pod.
    """

    amounts: Amounts
    selector: Mapping[str, str]
    terms: tuple[Object, ...]
    tolerations: tuple[Object, ...]

    @classmethod
    def of(cls, pod_spec: Object) -> "Demand":
        """Return the demand of a PodSpec.

        Raises:
            ArithmeticError, AttributeError, KeyError, TypeError, ValueError: The PodSpec is malformed.
        """
        affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        demand = cls(
            requests(pod_spec),
            dict(pod_spec.get("nodeSelector") or {}),
            tuple(required.get("nodeSelectorTerms") or []),
            tuple(pod_spec.get("tolerations") or []),
        )
        # Evaluated once without a node, so that malformed input fails here and not at some node.
        for term in demand.terms:
            _meets(NOWHERE, term)
        for toleration in demand.tolerations:
            _tolerates(toleration, {"key": "", "effect": ""})
        return demand

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the extended resources: GPUs, which are never shared or overcommitted."""
        return tuple(sorted(name for name in self.amounts if "/" in name))


NOWHERE = NodeView("", {})


def is_suitable(node: NodeView, demand: Demand) -> bool:
    """Tell whether the node could run the pod if it were empty."""
    return (
        node.schedulable
        and all(node.labels.get(key) == value for key, value in demand.selector.items())
        and (not demand.terms or any(_meets(node, term) for term in demand.terms))
        and all(tolerated(taint, demand.tolerations) for taint in node.taints)
        and free_slots_on(node, demand, ()) > 0
    )


def _meets(node: NodeView, term: Object) -> bool:
    fields = {"metadata.name": node.name}
    return all(_holds(item, node.labels) for item in term.get("matchExpressions") or []) and all(
        _holds(item, fields) for item in term.get("matchFields") or []
    )


def free_slots_on(node: NodeView, demand: Demand, holders: Iterable["Holder"]) -> int:
    """Return the number of further such pods that a node has resources for beside its holders."""
    left = {name: quantity(node.allocatable.get(name, 0)) for name in demand.amounts}
    for holder in holders:
        for name in left:
            left[name] -= holder.amounts.get(name, 0)
    # A pod without requests always fits.
    fits = [int(left[name] // amount) for name, amount in demand.amounts.items()]
    return max(0, min(fits, default=1))


def _holds(requirement: Object, values: Mapping[str, str]) -> bool:
    """Evaluate one expression of a node selector term."""
    operator, wanted = requirement["operator"], requirement.get("values") or []
    value = values.get(requirement["key"])
    match operator:
        case "In":
            return value in wanted
        case "NotIn":
            return value not in wanted
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    try:
        number, limit = int(value or ""), int(wanted[0])
    except (ValueError, IndexError):
        return False
    return number > limit if operator == "Gt" else number < limit


def tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
    """Tell whether these tolerations allow scheduling on a node with this taint."""
    if taint["effect"] == "PreferNoSchedule":
        return True
    return any(_tolerates(item, taint) for item in tolerations)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return exists
    same = exists or toleration.get("value", "") == taint.get("value", "")
    return bool(toleration["key"] == taint["key"] and same)


@dataclass(frozen=True)
class Holder:
    """A pod that holds resources of a node.

    Attributes:
        resource: Name of its DeepSeekDeployment, None if it belongs to none.
        amounts: Its requests.
    """

    namespace: str
    name: str
    resource: str | None
    amounts: Amounts

    def __str__(self) -> str:
        if self.resource:
            return f"DeepSeekDeployment {self.namespace}/{self.resource}"
        return f"pod {self.namespace}/{self.name}"

    @classmethod
    def of(cls, pod: Object) -> "Holder":
        """Return the view of a Pod object."""
        metadata = pod["metadata"]
        return cls(
            metadata["namespace"],
            metadata["name"],
            (metadata.get("labels") or {}).get(NAME),
            requests(pod["spec"]),
        )


Usage = Mapping[str, tuple[Holder, ...]]


def free_slots(demand: Demand, nodes: Iterable[NodeView], usage: Usage) -> int:
    """Return the number of further such pods on suitable nodes; a node of unknown usage counts as full."""
    return sum(
        free_slots_on(node, demand, usage[node.name]) for node in nodes if node.name in usage
    )


def gpu_contention(demand: Demand, nodes: Iterable[NodeView], usage: Usage) -> GpuContention:
    """Return the usage of the devices that such a pod waits for, on suitable nodes."""
    device = demand.devices[0]
    devices_only = replace(demand, amounts={name: demand.amounts[name] for name in demand.devices})
    known = [node for node in nodes if node.name in usage]
    held: dict[str, int] = defaultdict(int)
    for node in known:
        for holder in usage[node.name]:
            if number := int(holder.amounts.get(device, 0)):
                held[str(holder)] += number
    return GpuContention(
        tuple(sorted(node.name for node in known)),
        device,
        sum(int(quantity(node.allocatable.get(device, 0))) for node in known),
        free_slots(devices_only, known, usage),
        tuple(sorted(held.items(), key=lambda item: (-item[1], item[0]))),
    )
