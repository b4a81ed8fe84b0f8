"""Manifests of a new resource, as they are applied first."""

from copy import deepcopy
from datetime import datetime
from typing import Any

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.progressive.pod_sets import PodSets
from deepseek_operator.plan.rolling.rolling_update import RolloutInput, next_step
from deepseek_operator.plan.state.observed import DeploymentView
from deepseek_operator.render.children import Manifest, children
from deepseek_operator.render.sets import children as children_of_sets
from deepseek_operator.render.signature import sign
from deepseek_operator.render.workload import is_workload, possible, rolled


def manifests(sets: PodSets, now: datetime) -> list[Manifest]:
    """Return all manifests of a new resource, in the order of application.

    Args:
        sets: Desired pod sets.
        now: Current time.
    """
    return [
        _rolled(child, sets.active, now) if is_workload(child) else child
        for child in children_of_sets(sets, children)
    ]


def unowned(manifest: dict[str, Any]) -> Manifest:
    """Return a manifest without owner reference.

    If the owner does not exist in the cluster, Kubernetes deletes its children.
    """
    free = deepcopy(manifest)
    free["metadata"].pop("ownerReferences", None)
    sign(free)
    return free


def _rolled(manifest: Manifest, desired: DesiredState, now: datetime) -> Manifest:
    """Return the workload with the step of a rollout that has no pods to replace."""
    wanted = manifest["spec"].get("replicas", 0)
    inputs = RolloutInput(desired.rollout, wanted, True, DeploymentView(), (), (), None, now)
    return rolled(manifest, possible(manifest, wanted, next_step(inputs, None)))
