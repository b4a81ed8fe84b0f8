"""The children of a resource, as manifests ready for server-side apply."""

import hashlib
import json
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.plan.labels import MANIFEST_HASH, labels, selector
from deepseek_operator.plan.target import MODEL_MOUNT, PORT, Target
from deepseek_operator.render.merge import merge
from deepseek_operator.render.template import render

Manifest = dict[str, Any]

# Time for a pod's address to disappear from Services everywhere; ample on a busy cluster.
LEAVE_SECONDS = 5

# In the order in which they are applied: what a pod needs comes before the pods.
TEMPLATES = (
    "serviceaccount.yaml.j2",
    "configmap.yaml.j2",
    "service.yaml.j2",
    "deployment.yaml.j2",
)


def children(target: Target) -> list[Manifest]:
    """All manifests of a resource, in the order in which they are to be applied."""
    name = target.resource.name
    metadata = {
        "name": name,
        "namespace": target.resource.namespace,
        "labels": labels(name),
        "ownerReferences": [owner(target)],
    }
    values = {
        "target": target,
        "metadata": metadata,
        "selector": selector(name),
        "port": PORT,
        "model_mount": MODEL_MOUNT,
        "leave_seconds": LEAVE_SECONDS,
    }
    manifests = [render(template, **values) for template in TEMPLATES]
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            _lay_over(manifest["spec"]["template"], target)
        sign(manifest)
    return manifests


def owner(target: Target) -> Manifest:
    """The reference by which Kubernetes deletes a child with its resource."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": target.resource.name,
        "uid": target.resource.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _lay_over(template: Manifest, target: Target) -> None:
    over = target.pod_template
    template["metadata"] = merge(
        {"labels": over.metadata.labels, "annotations": over.metadata.annotations},
        template["metadata"],
    )
    template["spec"] = merge(template["spec"], over.spec)


def sign(manifest: Manifest) -> None:
    """Note on the object which manifest it was made of, so that an unchanged one is not sent again."""
    manifest["metadata"].pop("annotations", None)
    text = json.dumps(manifest, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    manifest["metadata"]["annotations"] = {MANIFEST_HASH: digest}
