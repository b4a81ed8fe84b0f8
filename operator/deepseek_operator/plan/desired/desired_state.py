"""Desired state: a spec with every default made explicit."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.engine import EngineType
from deepseek_operator.api.model import HuggingFaceSource, SecretKey
from deepseek_operator.api.parallelism import Preflight
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.rollout import Rollout
from deepseek_operator.api.scaling import Scaling
from deepseek_operator.api.security import Security
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.desired import scaling
from deepseek_operator.plan.desired.pod_template import proxies
from deepseek_operator.plan.engines.choice import programs
from deepseek_operator.plan.engines.image import image
from deepseek_operator.plan.engines.program import MEETING_PORT, Programs, Serving
from deepseek_operator.plan.engines.program import MODEL_MOUNT as MODEL_MOUNT
from deepseek_operator.plan.engines.program import PORT as PORT
from deepseek_operator.plan.sizing.gpus import Gpus
from deepseek_operator.plan.sizing.pod_resources import Needs, needs
from deepseek_operator.plan.sizing.sizing import Sizing
from deepseek_operator.plan.sizing.start_deadline import SourceKind, start_seconds
from deepseek_operator.plan.state.labels import BLUE, Color
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.traffic.authorization import (
    KEYS_MOUNT,
    AuthorizationPlan,
    authorization_plan,
)
from deepseek_operator.plan.traffic.network_policy import PUBLIC_HUB, Network, destinations, network
from deepseek_operator.plan.traffic.routing import RoutingPlan, routing_plan

POD_MONITOR = "PodMonitor"
HOLDS_FILE = "/etc/deepseek/holds.json"


@dataclass(frozen=True)
class Resource:
    """Identity of the resource that a desired state is for."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class DesiredState:
    """The desired state of one resource.

    Attributes:
        programs: Containers of the pods of a replica.
        authorization: The authorization plan.
        replicas: Desired replicas; with scaling, as the autoscaler last set them.
        holds: Multi-pod replicas that must not start yet; None: replicas have one pod.
        max_restarts: Failures within an hour after which a multi-pod replica still restarts.
        exclusive_topology: Node label whose domain a replica shares with no other replica.
        queue: Kueue queue of the replicas; None: they are not queued.
        pod_monitor: Labels of the PodMonitor; None: there is none.
        color: Color of its set of pods.
        revision: Name of their revision, empty if revisions are not used.
        routing: The routing plan; None: spec.routing requests no route.
    """

    resource: Resource
    model_id: str
    served_name: str
    replicas: int
    image: str
    pull_policy: str
    engine: EngineType
    programs: Programs
    config: dict[str, Any]
    source: str
    sizing: Sizing
    pod_template: PodTemplate
    needs: Needs
    network: Network
    authorization: AuthorizationPlan
    rollout: Rollout
    exclusive_topology: str | None = None
    queue: str | None = None
    holds: Mapping[str, Any] | None = None
    max_restarts: int = 0
    scaling: Scaling | None = None
    pod_monitor: Mapping[str, str] | None = None
    routing: RoutingPlan | None = None
    host_path: str | None = None
    claim_name: str | None = None
    token_secret: SecretKey | None = None
    color: Color = BLUE
    revision: str = ""

    @property
    def config_text(self) -> str:
        """The model server's config file."""
        return json.dumps(self.config, indent=2, sort_keys=True) + "\n"

    @property
    def holds_text(self) -> str:
        """The file that tells pods to delay their start."""
        return json.dumps(self.holds, indent=2, sort_keys=True) + "\n"

    @property
    def config_hash(self) -> str:
        """Hash of the config file; pods are replaced when it changes."""
        return hashlib.sha256(self.config_text.encode()).hexdigest()[:16]

    @property
    def gpus(self) -> Gpus | None:
        """The GPUs of one pod, None for the CPU."""
        return self.sizing.gpus

    @property
    def pods(self) -> int:
        """Pods of one replica."""
        return self.sizing.split.pods

    @property
    def limits(self) -> dict[str, int]:
        """The devices of one pod by resource name.

        A pod of a multi-pod replica requests one RDMA device, as shared device plug-ins offer it;
        where each adapter is a device of its own, podTemplate has to request more.
        """
        if self.gpus is None:
            return {}
        found = {self.gpus.resource: self.gpus.count}
        if self.pods > 1 and self.gpus.rdma:
            found[self.gpus.rdma] = 1
        return found

    @property
    def accelerator(self) -> str:
        """The hardware of one replica, as text."""
        each = str(self.gpus) if self.gpus else "CPU"
        return each if self.pods == 1 else f"{self.pods} pods of {each}"

    @property
    def endpoint(self) -> str:
        """Base URL: of the route if there is one, else of the Service."""
        if self.routing and self.routing.route:
            return self.routing.route.url
        return f"http://{self.resource.name}.{self.resource.namespace}.svc"


def desired_state(
    resource: Resource,
    spec: Spec,
    settings: Settings,
    sizing: Sizing,
    observed: Observed,
    holds: Mapping[str, Any] | None = None,
) -> DesiredState:
    """Make every default of a spec explicit; the spec has passed the checks.

    Args:
        resource: Identity of the resource.
        spec: Its spec.
        settings: Settings of the installation.
        sizing: Hardware of a replica.
        observed: Its observed state, and the optional kinds that the cluster has.
        holds: Its replicas that must not start yet.
    """
    model = spec.model
    source = model.source
    host_path = claim_name = token_secret = None
    source_kind: SourceKind = "hub"
    endpoint = ""
    urls: list[str] = []
    if source and source.host_path:
        host_path, source_kind = source.host_path.path, "hostPath"
        where, description = {"path": MODEL_MOUNT}, f"directory {host_path} of the node"
    elif source and source.pvc:
        claim_name, source_kind = source.pvc.claim_name, "claim"
        path = f"{MODEL_MOUNT}/{source.pvc.path}".rstrip("/")
        where, description = (
            {"path": path},
            f"claim {claim_name}, directory {source.pvc.path or '/'}",
        )
    else:
        hub = (source and source.hugging_face) or HuggingFaceSource()
        endpoint = hub.endpoint or settings.hub_endpoint
        token_secret = hub.token_secret
        urls = [endpoint or PUBLIC_HUB, *proxies(spec.pod_template, spec.engine)]
        where = {"huggingFace": {"endpoint": endpoint}}  # type: ignore[dict-item]
        description = (
            f"repository {model.id}@{model.revision} of {endpoint or 'the Hugging Face hub'}"
        )
    known = models().get(model.id)
    scraped = _is_scraped(spec, observed.served)
    served_name = model.served_name or model.id
    start = start_seconds(known.weight_bytes if known else None, source_kind)
    directory = None if source_kind == "hub" else str(where["path"])
    serving = Serving(
        model_id=model.id,
        model=directory or model.id,
        served_name=served_name,
        revision=None if directory else model.revision,
        hub=endpoint,
        dtype=sizing.dtype,
        max_context=sizing.max_context,
        asked_context=model.max_context is not None,
        split=sizing.split,
        on_gpus=sizing.gpus is not None,
        drain_seconds=spec.rollout.drain_seconds,
        start_seconds=start,
        args=tuple(spec.engine.args),
        env={variable.name: variable.value for variable in spec.engine.env},
    )
    routing = routing_plan(spec.routing, resource.name, settings, observed.served)
    gateway = routing.pods_namespaces if routing else ()
    authorization = authorization_plan(spec.security, gateway, observed.served)
    return DesiredState(
        resource=resource,
        model_id=model.id,
        served_name=served_name,
        replicas=scaling.replicas(spec, observed),
        scaling=spec.scaling,
        image=image(spec.engine, settings),
        pull_policy=settings.server_pull_policy,
        engine=spec.engine.type,
        programs=programs(spec.engine.type, serving),
        config={
            "version": 1,
            "model": {
                "id": model.id,
                "servedName": served_name,
                "revision": model.revision,
                "maxContext": sizing.max_context,
                "dtype": sizing.dtype,
                "source": where,
            },
            "listen": {"host": "0.0.0.0", "port": PORT},  # noqa: S104 - a pod's own address
            "device": "cuda" if sizing.gpus else "cpu",
            **_split(spec, sizing),
            **_keys(spec.security),
            "drainSeconds": spec.rollout.drain_seconds,
            "startSeconds": start,
        },
        source=description,
        sizing=sizing,
        pod_template=spec.pod_template,
        needs=needs(
            known,
            sizing.gpus.count if sizing.gpus else 0,
            # `auto` is float32 on a CPU.
            2 if model.dtype in ("bfloat16", "float16") else 4,
            downloads=source_kind == "hub",
            pods=sizing.split.pods,
        ),
        network=network(authorization, settings, scraped, destinations(urls, resource.namespace)),
        routing=routing,
        authorization=authorization,
        pod_monitor=settings.pod_monitor_labels if scraped else None,
        rollout=spec.rollout,
        holds=holds if sizing.split.pods > 1 else None,
        max_restarts=spec.parallelism.max_restarts if spec.parallelism else 0,
        exclusive_topology=spec.parallelism.exclusive_topology if spec.parallelism else None,
        queue=spec.scheduling.queue if spec.scheduling else None,
        host_path=host_path,
        claim_name=claim_name,
        token_secret=token_secret,
    )


def _split(spec: Spec, sizing: Sizing) -> dict[str, Any]:
    """Return the parallelism part of the config; empty for one GPU, so that its pods don't change."""
    config: dict[str, Any] = {}
    if sizing.split.tensor > 1:
        config["tensorParallel"] = sizing.split.tensor
    if sizing.split.pods > 1:
        preflight = spec.parallelism.preflight if spec.parallelism else Preflight()
        config["gang"] = {
            "pods": sizing.split.pods,
            "port": MEETING_PORT,
            "holds": HOLDS_FILE,
            "preflight": preflight.model_dump(by_alias=True),
        }
    return config


def _keys(security: Security) -> dict[str, str]:
    if security.api_keys is None:
        return {}
    return {"apiKeysFile": f"{KEYS_MOUNT}/{security.api_keys.key}"}


def _is_scraped(spec: Spec, served: frozenset[str]) -> bool:
    requested = spec.observability.pod_monitor
    return POD_MONITOR in served if requested is None else requested
