"""Manifests of a resource's children, ready for server-side apply."""

import json
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT, PORT, DesiredState
from deepseek_operator.plan.desired.pod_template import KEYS_VOLUME, limits
from deepseek_operator.plan.state.labels import (
    BLUE,
    LEADER,
    QUEUE,
    ROLE,
    WORKER,
    Color,
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


def children(desired: DesiredState) -> list[Manifest]:
    """Return all manifests of a resource, in the order of application.

    The workload still lacks the step of its rollout (`workload.rolled`).
    """
    name, color = desired.resource.name, desired.color
    own = set_name(name, color)
    metadata = common(desired, name)
    values = {
        "desired": desired,
        "metadata": metadata,
        # Metadata of objects that belong to this set of pods alone.
        "own": {**metadata, "name": own, "labels": labels(name, color)},
        "selector": selector(name),
        # A Deployment's selector is immutable, and the blue one predates colors. It matches the green
        # pods too, which does no harm: they have a controller.
        "own_selector": selector(name, None if color == BLUE else color),
        "serving": serving(desired),
        "gang": gang_name(name, color),
        "port": PORT,
        "model_mount": MODEL_MOUNT,
        "leave_seconds": LEAVE_SECONDS,
        "requests": _asked_for(desired),
        "shm": _mebibytes(desired.needs.shm),
        "download_limit": _mebibytes(desired.needs.download_limit),
        "dns": DNS,
        "workload_labels": labels(name, color) | ({QUEUE: desired.queue} if desired.queue else {}),
        "monitor_labels": {**(desired.pod_monitor or {}), **labels(name)},
        "status_port": STATUS_PORT,
        "metrics_path": METRICS_PATH,
        "keys_mount": KEYS_MOUNT,
        "keys_volume": KEYS_VOLUME,
    }
    templates = [*TEMPLATES, DEPLOYMENT if desired.pods == 1 else GROUPS]
    if desired.scaling is not None:
        templates.append(scaling.TEMPLATES[desired.scaling.metrics])
        values |= scaling.values(desired, desired.scaling)
    if desired.pod_monitor is not None:
        templates.append(POD_MONITOR)
    if desired.pods == 1:
        values["pod"] = _pod(desired, values)
    else:
        values |= {role: _pod(desired, values, role) for role in (LEADER, WORKER)}
    manifests = [render(template, **values) for template in templates]
    # Mesh policies, before the pods as well.
    manifests[len(TEMPLATES) : len(TEMPLATES)] = trust.manifests(desired.authorization, values)
    route = desired.routing.route if desired.routing else None
    if route:
        manifests += routes.manifests(route, metadata)
    if (
        desired.authorization.meshed
        and desired.authorization.steered
        and not (route and route.api == "istio")
    ):
        # Callers in the mesh have no route from us, and by default their sidecars keep idle connections
        # longer than servers do.
        manifests.append(routes.sharing(metadata))
    for manifest in manifests:
        sign(manifest)
    return manifests


def common(desired: DesiredState, name: str) -> Manifest:
    """Return the metadata of a child."""
    return {
        "name": name,
        "namespace": desired.resource.namespace,
        "labels": labels(desired.resource.name),
        "ownerReferences": [owner(desired)],
    }


def serving(desired: DesiredState, color: Color | None = None) -> dict[str, str]:
    """Return the labels of the pods that accept requests: of a replica of several pods, the leader."""
    role = {ROLE: LEADER} if desired.pods > 1 else {}
    return selector(desired.resource.name, color) | role


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


def owner(desired: DesiredState) -> Manifest:
    """Return the owner reference, by which Kubernetes deletes a child with its resource."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": desired.resource.name,
        "uid": desired.resource.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _pod(desired: DesiredState, values: dict[str, Any], role: str = "") -> Manifest:
    """Return the pod template of a resource, for a role in a replica of several pods."""
    own = labels(desired.resource.name, desired.color) | ({ROLE: role} if role else {})
    runs = desired.programs.leader
    if role == WORKER:
        own["sidecar.istio.io/inject"] = "false"  # workers get no requests
        runs = desired.programs.worker or runs
    over = desired.pod_template
    mesh = {}
    if desired.authorization.in_mesh and role != WORKER:
        own["sidecar.istio.io/inject"] = "true"
        defaults = mesh_defaults(desired.config["drainSeconds"])
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


def _asked_for(desired: DesiredState) -> Manifest:
    """Return the model server's resource requests, without those that podTemplate sets limits for."""
    needs, over = desired.needs, desired.pod_template
    quantities = {"cpu": f"{needs.millicores}m", "memory": _mebibytes(needs.memory)}
    # With a volume of the user's own for downloads, the node's disk is not used.
    if needs.download and not any(item["name"] == CACHE for item in over.spec.get("volumes", [])):
        quantities["ephemeral-storage"] = _mebibytes(needs.download)
    return {name: value for name, value in quantities.items() if name not in limits(over)}


def _mebibytes(count: int) -> str:
    """Return a number of bytes as a quantity in Mi, rounded up; empty for 0."""
    return f"{-(-count // 2**20)}Mi" if count else ""
