"""Resources, pods, nodes and Deployments as the API server returns them."""

from typing import Any

from deepseek_operator.plan.state.settings import Settings

SETTINGS = Settings(server_image="registry/server:1")
NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:05:00Z"
R1 = "deepseek-ai/DeepSeek-R1"


def resource(
    status: dict[str, Any] | None = None, generation: int = 1, **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "r1",
            "namespace": "apps",
            "uid": "u-1",
            "generation": generation,
            "resourceVersion": "7",
        },
        "spec": {"model": {"id": R1}, **spec},
        "status": status or {},
    }


def deployment(wanted: int = 1, settled: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"name": "r1", "namespace": "apps", "generation": 2},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 2 if settled else 1,
            "replicas": wanted,
            "updatedReplicas": wanted,
        },
    }


# config.json of a repository that is not in the catalogue.
TUNED = {
    "model_type": "qwen2",
    "max_position_embeddings": 32_768,
    "vocab_size": 152_064,
    "hidden_size": 5120,
    "intermediate_size": 27_648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
}


def pod(
    name: str = "r1-a",
    ready: bool = False,
    state: dict[str, Any] | None = None,
    last: dict[str, Any] | None = None,
    unschedulable: str | None = None,
) -> dict[str, Any]:
    scheduled = {"type": "PodScheduled", "status": "False" if unschedulable else "True"}
    if unschedulable:
        scheduled |= {"reason": "Unschedulable", "message": unschedulable}
        scheduled |= {"lastTransitionTime": NOW}
    status: dict[str, Any] = {
        "conditions": [scheduled, {"type": "Ready", "status": str(ready)}],
    }
    if state is not None:
        container = {"name": "server", "state": state}
        if last:
            container["lastState"] = last
        status["containerStatuses"] = [container]
    return {"metadata": {"name": name, "namespace": "apps"}, "status": status}


def node(name: str, gpus: int = 0, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "allocatable": {
                "cpu": "64",
                "memory": "512Gi",
                "ephemeral-storage": "4Ti",
                "nvidia.com/gpu": str(gpus),
            }
        },
    }
