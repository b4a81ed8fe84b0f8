"""Workload of a resource: a Deployment, or a LeaderWorkerSet if a replica has several pods.

A step of a rollout sets maxSurge and maxUnavailable of either.
"""

from typing import Any

from deepseek_operator.plan.rolling.rolling_update import ALONE, Step
from deepseek_operator.plan.state.labels import ROLLOUT_STEP, TEMPLATE_HASH
from deepseek_operator.render.signature import digest, sign

Manifest = dict[str, Any]

DEPLOYMENT = "Deployment"
GROUPS = "LeaderWorkerSet"
WORKLOADS = (DEPLOYMENT, GROUPS)


def is_workload(manifest: Manifest) -> bool:
    """Return whether a child is the workload, which runs the pods."""
    return manifest["kind"] in WORKLOADS


def pod_spec(manifest: Manifest) -> Manifest:
    """Return the spec of the workload's pods; of a LeaderWorkerSet, of its leaders."""
    return _templates(manifest)[0]["spec"]  # type: ignore[no-any-return]


def _templates(manifest: Manifest) -> list[Manifest]:
    spec = manifest["spec"]
    if manifest["kind"] == DEPLOYMENT:
        return [spec["template"]]
    group = spec["leaderWorkerTemplate"]
    return [group["leaderTemplate"], group["workerTemplate"]]


def template_hash(manifest: Manifest) -> str:
    """Return a hash of what starts a rollout: the pod templates and the pods per replica."""
    templates = _templates(manifest)
    if len(templates) == 1:
        return digest(templates[0])
    return digest([*templates, manifest["spec"]["leaderWorkerTemplate"]["size"]])


def possible(manifest: Manifest, wanted: int, step: Step) -> Step:
    """Return the step, or its replacement if the workload can't surge with so many replicas."""
    return ALONE if manifest["kind"] == GROUPS and wanted == 1 and step.surge else step


def rolled(manifest: Manifest, step: Step) -> Manifest:
    """Return the workload's manifest with a step of its rollout."""
    hashed = template_hash(manifest)
    spec, room = manifest["spec"], {"maxSurge": step.surge, "maxUnavailable": step.unavailable}
    if manifest["kind"] == DEPLOYMENT:
        spec = {**spec, "strategy": {"type": "RollingUpdate", "rollingUpdate": room}}
    else:
        strategy = {"type": "RollingUpdate", "rollingUpdateConfiguration": room}
        group = spec["leaderWorkerTemplate"]
        spec = {
            **spec,
            "rolloutStrategy": strategy,
            "leaderWorkerTemplate": {
                **group,
                # The status of a LeaderWorkerSet does not tell which pods have which template.
                **{
                    name: _noted(group[name], hashed)
                    for name in ("leaderTemplate", "workerTemplate")
                },
            },
        }
    notes = {ROLLOUT_STEP: str(step), TEMPLATE_HASH: hashed}
    annotations = {**manifest["metadata"].get("annotations", {}), **notes}
    result = {
        **manifest,
        "metadata": {**manifest["metadata"], "annotations": annotations},
        "spec": spec,
    }
    sign(result)
    return result


def _noted(template: Manifest, hashed: str) -> Manifest:
    metadata = template["metadata"]
    annotations = {**metadata.get("annotations", {}), TEMPLATE_HASH: hashed}
    return {**template, "metadata": {**metadata, "annotations": annotations}}
