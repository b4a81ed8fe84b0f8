"""The pods of a model under the strictest of Kubernetes' Pod Security Standards."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.children import children
from tests.support.kube import Kube, resource

CLAIM = {"id": "tiny", "source": {"pvc": {"claimName": "models"}}}
HOST_PATH = {"id": "tiny", "source": {"hostPath": {"path": "/models"}}}


@pytest.fixture
def restricted(kube: Kube) -> Kube:
    """A namespace that enforces the restricted Pod Security Standard."""
    level = "pod-security.kubernetes.io/enforce=restricted"
    kube.run("label", "namespace", kube.namespace, level)
    return kube


def pod(kube: Kube, **spec: Any) -> dict[str, Any]:
    """Return a pod as the Deployment would create it; its service account exists."""
    body = resource("r1", **spec)
    body["metadata"] |= {"namespace": kube.namespace, "uid": "u-1"}
    decision = decide(body, Settings("server:test"), Observed())
    assert isinstance(decision, DesiredState)
    made = {manifest["kind"]: manifest for manifest in children(decision)}
    kube.apply(made["ServiceAccount"])
    template = made["Deployment"]["spec"]["template"]
    metadata = {**template["metadata"], "name": "r1", "namespace": kube.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"model": CLAIM},
        {"accelerator": {"profile": "nvidia-h200", "count": 4}},
        {"podTemplate": {"spec": {"priorityClassName": "system-cluster-critical"}}},
    ],
    ids=["hub", "claim", "four GPUs", "priority"],
)
def test_a_pod_is_admitted(restricted: Kube, spec: dict[str, Any]) -> None:
    restricted.apply(pod(restricted, **spec))


def test_a_host_path_is_refused(restricted: Kube) -> None:
    """docs/pods.md documents this; if Kubernetes ever allows it, that page changes."""
    assert "hostPath" in restricted.refusal(pod(restricted, model=HOST_PATH))
