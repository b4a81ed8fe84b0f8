"""Manifests of a resource that has, or has had, a second set of pods."""

from collections.abc import Callable
from typing import Any

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.progressive.pod_sets import PodSets
from deepseek_operator.plan.progressive.revision import Revision
from deepseek_operator.plan.state.labels import (
    BLUE,
    GREEN,
    REVISION,
    ROLLOUT_STATE,
    Color,
    labels,
    service_name,
)
from deepseek_operator.render.children import Manifest, common, serving
from deepseek_operator.render.signature import sign
from deepseek_operator.render.template import render
from deepseek_operator.render.workload import is_workload

# Kinds of which each set has its own object.
OWN = ("ConfigMap", "Deployment", "LeaderWorkerSet")


def children(sets: PodSets, rendered: Callable[[DesiredState], list[Manifest]]) -> list[Manifest]:
    """Return all manifests of a resource, in the order of application.

    Args:
        sets: Desired pod sets.
        rendered: Function that renders the children of one set.
    """
    if sets.state is None:
        return rendered(sets.active)
    active = [_extended(child, sets, rendered) for child in rendered(sets.active)]
    preview = (
        [child for child in rendered(sets.preview) if child["kind"] in OWN] if sets.preview else []
    )
    revisions = [_revision(sets.active, item) for item in sets.revisions]
    services = [_set_service(sets, color) for color in (BLUE, GREEN)] if sets.revisions else []
    at = next(index for index, child in enumerate(active) if is_workload(child))
    files = [child for child in preview if not is_workload(child)]
    pods = [_with_revision(child, sets.preview) for child in preview if is_workload(child)]
    return [*revisions, *active[:at], *services, *files, active[at], *pods, *active[at + 1 :]]


def _extended(
    child: Manifest, sets: PodSets, rendered: Callable[[DesiredState], list[Manifest]]
) -> Manifest:
    """Return a child of the set that has the requests, extended for the other set."""
    if child["kind"] == "Service":
        return _client_service(child, sets)
    if child["kind"] == "NetworkPolicy" and sets.preview:
        return _merged_policy(child, rendered(sets.preview))
    return _with_revision(child, sets.active)


def _with_revision(child: Manifest, desired: DesiredState | None) -> Manifest:
    """Return a workload with the revision of its pods."""
    if desired and desired.revision and is_workload(child):
        _annotate(child, REVISION, desired.revision)
    return child


def _annotate(child: Manifest, name: str, value: str) -> None:
    child["metadata"].setdefault("annotations", {})[name] = value
    sign(child)


def _client_service(service: Manifest, sets: PodSets) -> Manifest:
    """Return the clients' Service with selector and rollout state, which change in one write."""
    colors = sets.traffic.common
    desired = sets.of(colors[0]) or sets.active
    mixed = len({one.pods > 1 for one in sets.members}) > 1
    if len(colors) == 1 or mixed:
        service["spec"]["selector"] = serving(desired, desired.color)
    _annotate(service, ROLLOUT_STATE, str(sets.state))
    return service


def _set_service(sets: PodSets, color: Color) -> Manifest:
    """Return the Service of one set, for routes with a weight per set."""
    desired = sets.of(color) or sets.active
    metadata = common(desired, service_name(desired.resource.name, color))
    service = render("service.yaml.j2", metadata=metadata, serving=serving(desired, color))
    sign(service)
    return service


def _merged_policy(policy: Manifest, others: list[Manifest]) -> Manifest:
    """Return the NetworkPolicy with the rules of both sets."""
    (preview,) = (child for child in others if child["kind"] == "NetworkPolicy")
    for direction in ("ingress", "egress"):
        rules = policy["spec"].setdefault(direction, [])
        rules += [rule for rule in preview["spec"].get(direction, []) if rule not in rules]
    sign(policy)
    return policy


def _revision(desired: DesiredState, revision: Revision) -> Manifest:
    """Return the ControllerRevision that keeps what a set was made of while the spec changes."""
    name = desired.resource.name
    metadata: dict[str, Any] = common(desired, f"{name}-{revision.name}")
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
