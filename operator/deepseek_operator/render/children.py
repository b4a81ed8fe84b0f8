"""Manifests of a resource's children, ready for server-side apply."""

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

# Seconds until every node has removed a terminating pod from Services; ample on a busy cluster.
LEAVE_SECONDS = 5
# Volume for downloads and compiled code.
CACHE = "cache"
# OpenShift's DNS pods listen on 5353, behind a Service with port 53.
DNS = [{"port": port, "protocol": way} for port in (53, 5353) for way in ("UDP", "TCP")]

# In the order of application: what a pod needs comes before the pods.
TEMPLATES = (
    "serviceaccount.yaml.j2",
    "configmap.yaml.j2",
    "service.yaml.j2",
    "poddisruptionbudget.yaml.j2",
    # Before the pods, so that they are never open to all.
    "networkpolicy.yaml.j2",
)
# Annotations of pods with a sidecar, independent of the mesh's settings: the sidecar forwards the
# kubelet's probes to the server and merges the server's metrics into its own, because programs
# outside the mesh can't reach the server.
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
    """Return all manifests of a resource, in the order of application.

    The workload still lacks the step of its rollout (`workload.rolled`).
    """
    name, slot = target.resource.name, target.slot
    own = set_name(name, slot)
    metadata = common(target, name)
    values = {
        "target": target,
        "metadata": metadata,
        # Metadata of objects that belong to this set of pods alone.
        "own": {**metadata, "name": own, "labels": labels(name, slot)},
        "selector": selector(name),
        # A Deployment's selector is immutable, and the blue one predates colors. It matches the green
        # pods too, which does no harm: they have a controller.
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
    # Mesh policies, before the pods as well.
    manifests[len(TEMPLATES) : len(TEMPLATES)] = trust.manifests(target.trust, values)
    route = target.ways.route if target.ways else None
    if route:
        manifests += routes.manifests(route, metadata)
    if target.trust.meshed and target.trust.steered and not (route and route.api == "istio"):
        # Callers in the mesh have no route from us, and by default their sidecars keep idle connections
        # longer than servers do.
        manifests.append(routes.sharing(metadata))
    for manifest in manifests:
        sign(manifest)
    return manifests


def common(target: Target, name: str) -> Manifest:
    """Return the metadata of a child."""
    return {
        "name": name,
        "namespace": target.resource.namespace,
        "labels": labels(target.resource.name),
        "ownerReferences": [owner(target)],
    }


def serving(target: Target, slot: Slot | None = None) -> dict[str, str]:
    """Return the labels of the pods that accept requests: of a replica of several pods, the leader."""
    role = {ROLE: LEADER} if target.pods > 1 else {}
    return selector(target.resource.name, slot) | role


def mesh_defaults(drain_seconds: int) -> dict[str, str]:
    """Return annotations of pods with a sidecar that podTemplate may override.

    Args:
        drain_seconds: Time for running requests when a replica is stopped.
    """
    # A change of the Service, such as a blue-green switch, replaces the sidecar's listener, and
    # connections through the old one are cut after this time (45 s by default).
    lasting = f"{drain_seconds + LEAVE_SECONDS}s"
    # A non-native sidecar gets SIGTERM together with the server, and by default exits after five
    # seconds even if the server still answers requests.
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
    """Return the owner reference, by which Kubernetes deletes a child with its resource."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": target.resource.name,
        "uid": target.resource.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _pod(target: Target, values: dict[str, Any], role: str = "") -> Manifest:
    """Return the pod template of a resource, for a role in a replica of several pods."""
    own = labels(target.resource.name, target.slot) | ({ROLE: role} if role else {})
    runs = target.programs.leader
    if role == WORKER:
        own["sidecar.istio.io/inject"] = "false"  # workers get no requests
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
    """Return the model server's resource requests, without those that podTemplate sets limits for."""
    needs, over = target.needs, target.pod_template
    quantities = {"cpu": f"{needs.millicores}m", "memory": _mebibytes(needs.memory)}
    # With a volume of the user's own for downloads, the node's disk is not used.
    if needs.download and not any(item["name"] == CACHE for item in over.spec.get("volumes", [])):
        quantities["ephemeral-storage"] = _mebibytes(needs.download)
    return {name: value for name, value in quantities.items() if name not in limits(over)}


def _mebibytes(count: int) -> str:
    """Return a number of bytes as a quantity in Mi, rounded up; empty for 0."""
    return f"{-(-count // 2**20)}Mi" if count else ""
