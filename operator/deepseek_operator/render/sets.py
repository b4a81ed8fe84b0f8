"""Manifests of a resource that has, or has had, a second set of pods."""

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

# Kinds of which each set has its own object.
OWN = ("ConfigMap", "Deployment", "LeaderWorkerSet")


def children(sets: Sets, rendered: Callable[[Target], list[Manifest]]) -> list[Manifest]:
    """Return all manifests of a resource, in the order of application.

    Args:
        sets: Desired pod sets.
        rendered: Function that renders the children of one set.
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
    """Return a child of the set that has the requests, extended for the other set."""
    if child["kind"] == "Service":
        return _in_front(child, sets)
    if child["kind"] == "NetworkPolicy" and sets.other:
        return _opened(child, rendered(sets.other))
    return _noted(child, sets.lead)


def _noted(child: Manifest, target: Target | None) -> Manifest:
    """Return a workload with the revision of its pods."""
    if target and target.revision and is_workload(child):
        _annotate(child, REVISION, target.revision)
    return child


def _annotate(child: Manifest, name: str, value: str) -> None:
    child["metadata"].setdefault("annotations", {})[name] = value
    sign(child)


def _in_front(service: Manifest, sets: Sets) -> Manifest:
    """Return the clients' Service with selector and rollout state, which change in one write."""
    places = sets.traffic.common
    target = sets.of(places[0]) or sets.lead
    apart = len({one.pods > 1 for one in sets.both}) > 1
    if len(places) == 1 or apart:
        service["spec"]["selector"] = serving(target, target.slot)
    _annotate(service, RECORD, str(sets.record))
    return service


def _alone(sets: Sets, slot: Slot) -> Manifest:
    """Return the Service of one set, for routes with a weight per set."""
    target = sets.of(slot) or sets.lead
    metadata = common(target, service_name(target.resource.name, slot))
    service = render("service.yaml.j2", metadata=metadata, serving=serving(target, slot))
    sign(service)
    return service


def _opened(policy: Manifest, others: list[Manifest]) -> Manifest:
    """Return the NetworkPolicy with the rules of both sets."""
    (other,) = (child for child in others if child["kind"] == "NetworkPolicy")
    for way in ("ingress", "egress"):
        rules = policy["spec"].setdefault(way, [])
        rules += [rule for rule in other["spec"].get(way, []) if rule not in rules]
    sign(policy)
    return policy


def _revision(target: Target, revision: Revision) -> Manifest:
    """Return the ControllerRevision that keeps what a set was made of while the spec changes."""
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
