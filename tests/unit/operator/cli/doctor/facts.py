"""Facts of a healthy cluster, and objects to introduce faults."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.api.crd import definition
from deepseek_operator.cli.assumptions import KINDS
from deepseek_operator.cli.doctor.facts import Facts
from deepseek_operator.cli.doctor.surroundings import DEFAULT_CLASS

Object = dict[str, Any]
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
H200 = {"nvidia.com/gpu.product": "NVIDIA-H200"}


def node(
    name: str = "a",
    gpus: int = 8,
    labels: Object | None = None,
    kubelet: str = "v1.34.4",
    **spec: Any,
) -> Object:
    return {
        "metadata": {"name": name, "labels": H200 if labels is None else labels},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "64", **({"nvidia.com/gpu": str(gpus)} if gpus else {})},
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": kubelet},
        },
    }


def operator(ready: int = 2, version: str = "0.1.0", namespace: str = "deepseek-system") -> Object:
    labels = {"app.kubernetes.io/version": version}
    return {
        "metadata": {"name": "deepseek-operator", "namespace": namespace, "labels": labels},
        "spec": {"replicas": 2},
        "status": {"readyReplicas": ready},
    }


def lease(holder: str = "pod-1", renewed: str = "2026-01-01T11:59:58.123456Z") -> Object:
    return {
        "metadata": {"name": "deepseek-operator", "namespace": "deepseek-system"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
    }


def storage(name: str, default: bool = False, provisioner: str = "disk.csi.example.com") -> Object:
    notes = {DEFAULT_CLASS: "true"} if default else {}
    return {"metadata": {"name": name, "annotations": notes}, "provisioner": provisioner}


def service(group: str = "custom.metrics.k8s.io", available: str = "True") -> Object:
    return {
        "metadata": {"name": f"v1beta2.{group}"},
        "spec": {"group": group, "service": {"namespace": "deepseek-system", "name": "load"}},
        "status": {
            "conditions": [{"type": "Available", "status": available, "message": "no endpoints"}]
        },
    }


def space(**labels: str) -> Object:
    named = {name.replace("__", "/").replace("_", "-"): value for name, value in labels.items()}
    return {"metadata": {"name": "apps", "labels": named}}


WELL = Facts(
    now=NOW,
    here="0.1.0",
    namespace="apps",
    version="v1.34.1",
    served=frozenset(KINDS),
    crd=definition(),
    serves_ours=True,
    operators=(operator(),),
    leases=(lease(),),
    nodes=(node(),),
    usage={"a": ()},
    storage=(storage("disk", default=True), storage("files", provisioner="nfs.csi.k8s.io")),
    services=(service(),),
    space=space(**{"istio-injection": "enabled"}),
    resources=(),
    allowed={"create deepseekdeployments": True},
)


def but(**changes: Any) -> Facts:
    """Return the facts of the healthy cluster with the given changes."""
    return replace(WELL, **changes)
