"""What shall be: a spec with every default made explicit."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from deepseek_operator.api.model import HuggingFaceSource, SecretKey
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.rollout import Rollout
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import Labels, accelerators
from deepseek_operator.plan.settings import Settings

MODEL_MOUNT = "/models"
PORT = 8000


@dataclass(frozen=True)
class Resource:
    """Which resource a target is for."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Gpus:
    """The GPUs of one replica.

    Attributes:
        resource: Name of the extended resource.
        count: How many.
        nodes: Labels of fitting nodes (any one of them with one of its values); empty: any node.
    """

    resource: str
    count: int
    profile: str | None = None
    nodes: Labels = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.count} x {self.profile or 'GPU'}"


@dataclass(frozen=True)
class Target:
    """What shall be for one resource."""

    resource: Resource
    model_id: str
    served_name: str
    replicas: int
    image: str
    pull_policy: str
    args: tuple[str, ...]
    config: dict[str, Any]
    source: str
    gpus: Gpus | None
    pod_template: PodTemplate
    rollout: Rollout
    host_path: str | None = None
    claim_name: str | None = None
    token_secret: SecretKey | None = None

    @property
    def config_text(self) -> str:
        """The model server's config file."""
        return json.dumps(self.config, indent=2, sort_keys=True) + "\n"

    @property
    def config_hash(self) -> str:
        """Changes with the config file, so that pods are replaced when it does."""
        return hashlib.sha256(self.config_text.encode()).hexdigest()[:16]

    @property
    def accelerator(self) -> str:
        """What one replica runs on, in words."""
        return str(self.gpus) if self.gpus else "CPU"

    @property
    def endpoint(self) -> str:
        """Base URL inside the cluster."""
        return f"http://{self.resource.name}.{self.resource.namespace}.svc"


def target(resource: Resource, spec: Spec, settings: Settings) -> Target:
    """Make every default of a spec explicit; the spec has passed the checks."""
    model = spec.model
    source = model.source
    host_path = claim_name = token_secret = None
    if source and source.host_path:
        host_path = source.host_path.path
        where, words = {"path": MODEL_MOUNT}, f"directory {host_path} of the node"
    elif source and source.pvc:
        claim_name = source.pvc.claim_name
        path = f"{MODEL_MOUNT}/{source.pvc.path}".rstrip("/")
        where, words = {"path": path}, f"claim {claim_name}, directory {source.pvc.path or '/'}"
    else:
        hub = (source and source.hugging_face) or HuggingFaceSource()
        endpoint = hub.endpoint or settings.hub_endpoint
        token_secret = hub.token_secret
        where = {"huggingFace": {"endpoint": endpoint}}  # type: ignore[dict-item]
        words = f"repository {model.id}@{model.revision} of {endpoint or 'the Hugging Face hub'}"
    gpus = _gpus(spec)
    served_name = model.served_name or model.id
    return Target(
        resource=resource,
        model_id=model.id,
        served_name=served_name,
        replicas=spec.replicas,
        image=spec.engine.image or settings.server_image,
        pull_policy=settings.server_pull_policy,
        args=tuple(spec.engine.args),
        config={
            "version": 1,
            "model": {
                "id": model.id,
                "servedName": served_name,
                "revision": model.revision,
                "maxContext": model.max_context,
                "dtype": model.dtype,
                "source": where,
            },
            "listen": {"host": "0.0.0.0", "port": PORT},  # noqa: S104 - a pod's own address
            "device": "cuda" if gpus else "cpu",
            "drainSeconds": spec.rollout.drain_seconds,
        },
        source=words,
        gpus=gpus,
        pod_template=spec.pod_template,
        rollout=spec.rollout,
        host_path=host_path,
        claim_name=claim_name,
        token_secret=token_secret,
    )


def _gpus(spec: Spec) -> Gpus | None:
    if spec.accelerator is None:
        return None
    profile = spec.accelerator.profile
    return Gpus(
        resource=accelerators().resource,
        count=spec.accelerator.count or 1,
        profile=profile,
        nodes=accelerators().profiles[profile] if profile else {},
    )
