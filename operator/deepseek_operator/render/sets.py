"""The children of a resource that has a second set of pods, or has had one."""

from collections.abc import Callable
from typing import Any

from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.progressive.pod_sets import Sets
from deepseek_operator.plan.progressive.revision import Revision
from deepseek_operator.plan.state.labels import (
    BLUE,
    GREEN,
    RECORD,
    REVISION,
    Slot,
    labels,
    service_name,
)
from deepseek_operator.render.children import Manifest, common, serving
from deepseek_operator.render.signature import sign
from deepseek_operator.render.template import render
from deepseek_operator.render.workload import is_workload

# What each set has for itself.
OWN = ("ConfigMap", "Deployment", "LeaderWorkerSet")


def children(sets: Sets, rendered: Callable[[Target], list[Manifest]]) -> list[Manifest]:
    """All manifests of a resource, in the order in which they are to be applied.

    Args:
        sets: What shall be.
        rendered: Makes the children of one set.
    """
    if sets.record is None:
        return rendered(sets.lead)
    lead = [_amended(child, sets, rendered) for child in rendered(sets.lead)]
    other = [child for child in rendered(sets.other) if child["kind"] in OWN] if sets.other else []
    revisions = [_revision(sets.lead, item) for item in sets.revisions]
    services = [_alone(sets, slot) for slot in (BLUE, GREEN)] if sets.revisions else []
    at = next(place for place, child in enumerate(lead) if is_workload(child))
    files = [child for child in other if not is_workload(child)]
    pods = [_noted(child, sets.other) for child in other if is_workload(child)]
    return [*revisions, *lead[:at], *services, *files, lead[at], *pods, *lead[at + 1 :]]


def _amended(child: Manifest, sets: Sets, rendered: Callable[[Target], list[Manifest]]) -> Manifest:
    """A child of the set that has the requests, with what the other one needs of it."""
    if child["kind"] == "Service":
        return _in_front(child, sets)
    if child["kind"] == "NetworkPolicy" and sets.other:
        return _opened(child, rendered(sets.other))
    return _noted(child, sets.lead)


def _noted(child: Manifest, target: Target | None) -> Manifest:
    """What runs pods, with their revision."""
    if target and target.revision and is_workload(child):
        _annotate(child, REVISION, target.revision)
    return child


def _annotate(child: Manifest, name: str, value: str) -> None:
    child["metadata"].setdefault("annotations", {})[name] = value
    sign(child)


def _in_front(service: Manifest, sets: Sets) -> Manifest:
    """The Service that clients use: whose pods it has, and how far the change is, in one object."""
    places = sets.traffic.common
    target = sets.of(places[0]) or sets.lead
    apart = len({one.pods > 1 for one in sets.both}) > 1
    if len(places) == 1 or apart:
        service["spec"]["selector"] = serving(target, target.slot)
    _annotate(service, RECORD, str(sets.record))
    return service


def _alone(sets: Sets, slot: Slot) -> Manifest:
    """A Service of one set, for routes that give each its share."""
    target = sets.of(slot) or sets.lead
    metadata = common(target, service_name(target.resource.name, slot))
    service = render("service.yaml.j2", metadata=metadata, serving=serving(target, slot))
    sign(service)
    return service


def _opened(policy: Manifest, others: list[Manifest]) -> Manifest:
    """A policy that lets through what either set needs."""
    (other,) = (child for child in others if child["kind"] == "NetworkPolicy")
    for way in ("ingress", "egress"):
        rules = policy["spec"].setdefault(way, [])
        rules += [rule for rule in other["spec"].get(way, []) if rule not in rules]
    sign(policy)
    return policy


def _revision(target: Target, revision: Revision) -> Manifest:
    """What a set was made of, kept while the spec moves on."""
    name = target.resource.name
    metadata: dict[str, Any] = common(target, f"{name}-{revision.name}")
    metadata["labels"] = {**labels(name), REVISION: revision.name}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": revision.number,
        "data": dict(revision.content),
    }
    sign(manifest)
    return manifest
