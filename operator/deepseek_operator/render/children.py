"""The children of a resource, as manifests ready for server-side apply."""

import json
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT, PORT, Target
from deepseek_operator.plan.desired.pod_template import KEYS_VOLUME, limits
from deepseek_operator.plan.state.labels import (
    BLUE,
    LEADER,
    QUEUE,
    ROLE,
    WORKER,
    Slot,
    gang_name,
    labels,
    selector,
    set_name,
)
from deepseek_operator.plan.traffic.authorization import KEYS_MOUNT, METRICS_PATH, STATUS_PORT
from deepseek_operator.render import program, routes, scaling, trust
from deepseek_operator.render.merge import merge
from deepseek_operator.render.signature import sign
from deepseek_operator.render.template import render

Manifest = dict[str, Any]

# Time for a pod's address to disappear from Services everywhere; ample on a busy cluster.
LEAVE_SECONDS = 5
# The volume for what is downloaded or compiled.
CACHE = "cache"
# 5353 is where the DNS pods of OpenShift listen, behind a Service with the usual port.
DNS = [{"port": port, "protocol": way} for port in (53, 5353) for way in ("UDP", "TCP")]

# In the order in which they are applied: what a pod needs comes before the pods.
TEMPLATES = (
    "serviceaccount.yaml.j2",
    "configmap.yaml.j2",
    "service.yaml.j2",
    "poddisruptionbudget.yaml.j2",
    # Before the pods: there is no moment in which everybody may reach them.
    "networkpolicy.yaml.j2",
)
# Annotations of pods with a sidecar, whatever the mesh is set to: it asks the server the kubelet's
# questions and adds the server's metrics to its own, since no program outside the mesh can ask.
MESH = {
    "sidecar.istio.io/rewriteAppHTTPProbers": "true",
    "prometheus.istio.io/merge-metrics": "true",
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(PORT),
    "prometheus.io/path": "/metrics",
}
DEPLOYMENT, GROUPS = "deployment.yaml.j2", "leaderworkerset.yaml.j2"
POD_MONITOR = "podmonitor.yaml.j2"


def children(target: Target) -> list[Manifest]:
    """All manifests of a resource, in the order in which they are to be applied.

    What runs the pods still lacks the step of its rollout (`workload.rolled`).
    """
    name, slot = target.resource.name, target.slot
    own = set_name(name, slot)
    metadata = common(target, name)
    values = {
        "target": target,
        "metadata": metadata,
        # Of what belongs to these pods alone.
        "own": {**metadata, "name": own, "labels": labels(name, slot)},
        "selector": selector(name),
        # A Deployment's selector can't be changed, and was there before there was a second place. That
        # it fits the other set's pods, too, does no harm: they have a controller.
        "own_selector": selector(name, None if slot == BLUE else slot),
        "serving": serving(target),
        "gang": gang_name(name, slot),
        "port": PORT,
        "model_mount": MODEL_MOUNT,
        "leave_seconds": LEAVE_SECONDS,
        "requests": _asked_for(target),
        "shm": _mebibytes(target.needs.shm),
        "download_limit": _mebibytes(target.needs.download_limit),
        "dns": DNS,
        "workload_labels": labels(name, slot) | ({QUEUE: target.queue} if target.queue else {}),
        "monitor_labels": {**(target.pod_monitor or {}), **labels(name)},
        "status_port": STATUS_PORT,
        "metrics_path": METRICS_PATH,
        "keys_mount": KEYS_MOUNT,
        "keys_volume": KEYS_VOLUME,
    }
    templates = [*TEMPLATES, DEPLOYMENT if target.pods == 1 else GROUPS]
    if target.scaling is not None:
        templates.append(scaling.TEMPLATES[target.scaling.metrics])
        values |= scaling.values(target, target.scaling)
    if target.pod_monitor is not None:
        templates.append(POD_MONITOR)
    if target.pods == 1:
        values["pod"] = _pod(target, values)
    else:
        values |= {role: _pod(target, values, role) for role in (LEADER, WORKER)}
    manifests = [render(template, **values) for template in templates]
    # Before the pods as well.
    manifests[len(TEMPLATES) : len(TEMPLATES)] = trust.manifests(target.trust, values)
    route = target.ways.route if target.ways else None
    if route:
        manifests += routes.manifests(route, metadata)
    if target.trust.meshed and target.trust.steered and not (route and route.api == "istio"):
        # Callers in the mesh have no route of ours: by themselves their sidecars keep a connection for
        # longer than servers do.
        manifests.append(routes.sharing(metadata))
    for manifest in manifests:
        sign(manifest)
    return manifests


def common(target: Target, name: str) -> Manifest:
    """The metadata of a child."""
    return {
        "name": name,
        "namespace": target.resource.namespace,
        "labels": labels(target.resource.name),
        "ownerReferences": [owner(target)],
    }


def serving(target: Target, slot: Slot | None = None) -> dict[str, str]:
    """The labels of the pods that take requests: of several pods of a replica one does."""
    role = {ROLE: LEADER} if target.pods > 1 else {}
    return selector(target.resource.name, slot) | role


def mesh_defaults(drain_seconds: int) -> dict[str, str]:
    """Return annotations of pods with a sidecar that podTemplate may replace.

    Args:
        drain_seconds: Time for running requests when a replica is stopped.
    """
    # A change of the Service, as when a rollout switches, gives the sidecar another listener, and
    # connections through the old one are cut after this time (45 s by default).
    lasting = f"{drain_seconds + LEAVE_SECONDS}s"
    # A sidecar that is no native one gets SIGTERM together with the server, and by default ends after
    # five seconds whatever the server still answers.
    until_idle = {
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true",
        "MINIMUM_DRAIN_DURATION": f"{LEAVE_SECONDS}s",
    }
    config = {
        "drainDuration": lasting,
        "holdApplicationUntilProxyStarts": True,
        "proxyMetadata": until_idle,
    }
    return {
        "sidecar.istio.io/nativeSidecar": "true",
        "proxy.istio.io/config": json.dumps(config),
    }


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


def _pod(target: Target, values: dict[str, Any], role: str = "") -> Manifest:
    """What a pod of a resource is made of, by what it is in its replica where that has several."""
    own = labels(target.resource.name, target.slot) | ({ROLE: role} if role else {})
    runs = target.programs.leader
    if role == WORKER:
        own["sidecar.istio.io/inject"] = "false"  # nobody sends it requests
        runs = target.programs.worker or runs
    over = target.pod_template
    mesh = {}
    if target.trust.in_mesh and role != WORKER:
        own["sidecar.istio.io/inject"] = "true"
        defaults = mesh_defaults(target.config["drainSeconds"])
        chosen = {name: over.metadata.annotations.get(name, defaults[name]) for name in defaults}
        mesh = chosen | MESH
    pod = render(
        "pod.yaml.j2", **values, **program.values(runs), role=role, pod_labels=own, mesh=mesh
    )
    added = {"labels": over.metadata.labels, "annotations": over.metadata.annotations}
    metadata = {field: names for field, names in added.items() if names}
    return {
        "metadata": merge(metadata, pod["metadata"]),
        "spec": merge(pod["spec"], over.spec),
    }


def _asked_for(target: Target) -> Manifest:
    """What the model server's container requests; a limit of somebody's own stands for its request."""
    needs, over = target.needs, target.pod_template
    quantities = {"cpu": f"{needs.millicores}m", "memory": _mebibytes(needs.memory)}
    # Somebody's own volume for downloads is not the node's disk.
    if needs.download and not any(item["name"] == CACHE for item in over.spec.get("volumes", [])):
        quantities["ephemeral-storage"] = _mebibytes(needs.download)
    return {name: value for name, value in quantities.items() if name not in limits(over)}


def _mebibytes(count: int) -> str:
    """A quantity of bytes, rounded up; empty for none."""
    return f"{-(-count // 2**20)}Mi" if count else ""
