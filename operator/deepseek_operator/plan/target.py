"""What shall be: a spec with every default made explicit."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.model import HuggingFaceSource, SecretKey
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.scaling import Scaling
from deepseek_operator.api.spec import Spec
from deepseek_operator.plan import scaling
from deepseek_operator.plan.gpus import Gpus
from deepseek_operator.plan.observed import Observed
from deepseek_operator.plan.settings import Settings
from deepseek_operator.plan.sizing import Sizing

MODEL_MOUNT = "/models"
PORT = 8000
# Time that running requests get when a pod is stopped.
DRAIN_SECONDS = 60


@dataclass(frozen=True)
class Resource:
    """Which resource a target is for."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Target:
    """What shall be for one resource.

    Attributes:
        replicas: How many there shall be; where there is scaling, what it has decided last.
    """

    resource: Resource
    model_id: str
    served_name: str
    replicas: int
    image: str
    pull_policy: str
    args: tuple[str, ...]
    config: dict[str, Any]
    source: str
    sizing: Sizing
    pod_template: PodTemplate
    scaling: Scaling | None = None
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
    def gpus(self) -> Gpus | None:
        """The GPUs of one replica, None for the CPU."""
        return self.sizing.gpus

    @property
    def accelerator(self) -> str:
        """What one replica runs on, in words."""
        return str(self.gpus) if self.gpus else "CPU"

    @property
    def endpoint(self) -> str:
        """Base URL inside the cluster."""
        return f"http://{self.resource.name}.{self.resource.namespace}.svc"


def target(
    resource: Resource, spec: Spec, settings: Settings, sizing: Sizing, observed: Observed
) -> Target:
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
    served_name = model.served_name or model.id
    return Target(
        resource=resource,
        model_id=model.id,
        served_name=served_name,
        replicas=scaling.replicas(spec, observed),
        scaling=spec.scaling,
        image=spec.engine.image or settings.server_image,
        pull_policy=settings.server_pull_policy,
        args=tuple(spec.engine.args),
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
            **_split(sizing),
            "drainSeconds": DRAIN_SECONDS,
        },
        source=words,
        sizing=sizing,
        pod_template=spec.pod_template,
        host_path=host_path,
        claim_name=claim_name,
        token_secret=token_secret,
    )


def _split(sizing: Sizing) -> dict[str, Any]:
    """Said only where there are several, so that what runs on one goes on as it is."""
    return {"tensorParallel": sizing.tensor_parallel} if sizing.tensor_parallel > 1 else {}
