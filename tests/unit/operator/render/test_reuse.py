"""Tests that cached manifests equal those rendered for each resource."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.plan.desired.desired_state import DesiredState, Resource
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.render import reuse
from deepseek_operator.render.children import children
from deepseek_operator.render.reuse import Renderer
from tests.support.operator.resources import SETTINGS, resource

RENDERER = Renderer()
SERVED = frozenset({"PodMonitor", "ScaledObject", "VirtualService", "AuthorizationPolicy"})
SPECS: list[dict[str, Any]] = [
    {},
    {"replicas": 3},
    {"accelerator": {"profile": "nvidia-h200", "count": 8}, "rollout": {"drainSeconds": 5}},
    {"scaling": {"maxReplicas": 3}},
    {"scaling": {"maxReplicas": 3, "metrics": "keda", "prometheusAddress": "http://p:9090"}},
    {"security": {"allowFrom": [{"namespace": "apps"}]}, "observability": {"podMonitor": True}},
    {"routing": {"hosts": ["r1.apps"], "gateway": {"name": "r1", "namespace": "apps"}}},
    {"security": {"mtls": "STRICT", "jwt": {"issuer": "apps"}, "apiKeys": {"secretName": "r1"}}},
    {"model": {"id": "r1", "source": {"pvc": {"claimName": "r1", "path": "r1/apps"}}}},
    {"model": {"id": "mine", "source": {"hostPath": {"path": "/apps/r1"}}}},
    {"podTemplate": {"metadata": {"labels": {"a": "r1"}}, "spec": {"nodeName": "r1"}}},
]

# Up to the maximum length that the CRD allows.
names = st.from_regex(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?", fullmatch=True)


def desired(spec: dict[str, Any]) -> DesiredState:
    decision = decide(resource(**spec), SETTINGS, Observed(served=SERVED))
    assert isinstance(decision, DesiredState)
    return decision


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=20, deadline=None)
@given(name=names, namespace=names, uid=st.uuids())
def test_cached_manifests_equal_rendered_ones(
    spec: dict[str, Any], name: str, namespace: str, uid: Any
) -> None:
    wanted = replace(desired(spec), resource=Resource(namespace, name, str(uid)))
    assert RENDERER.children(wanted) == children(wanted)


def test_resources_that_differ_only_in_identity_are_rendered_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(desired: DesiredState) -> Any:
        calls.append(desired)
        return children(desired)

    monkeypatch.setattr(reuse, "children", counted)
    monkeypatch.setattr(reuse, "KEPT", 3)
    renderer = Renderer()
    for number in range(20):
        renderer.children(replace(desired({}), resource=Resource("apps", f"r{number}", "u")))
    assert len(calls) == 1
    for number in range(4):
        renderer.children(desired({"replicas": number + 2}))
    renderer.children(desired({}))
    assert len(calls) == 6
