"""Every validation rule of the CRD, once satisfied and once violated, against a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepseek_operator.api.crd import definition
from hack.cluster.faults import ClusterError
from tests.support.crd_rules import HOSTS, ID, RULES, rules
from tests.support.kube import Kube, resource

# (a spec that the schema refuses, words of the refusal)
SCHEMA: list[tuple[dict[str, Any], str]] = [
    ({"replicas": -1}, "spec.replicas"),
    ({"replicas": "three"}, "spec.replicas"),
    ({"model": {}}, "spec.model.id"),
    ({"scaling": {}}, "spec.scaling.maxReplicas"),
    ({"scaling": {"minReplicas": 0, "maxReplicas": 1}}, "spec.scaling.minReplicas"),
    ({"scaling": {"maxReplicas": 1, "metrics": "mine"}}, "spec.scaling.metrics"),
    ({"model": {"id": ID, "maxContext": 0}}, "spec.model.maxContext"),
    ({"model": {"id": ID, "dtype": "int3"}}, "spec.model.dtype"),
    (
        {"model": {"id": ID, "source": {"hostPath": {"path": "models"}}}},
        "spec.model.source.hostPath.path",
    ),
    ({"model": {"id": ID, "source": {"huggingFace": {"endpoint": "hub"}}}}, "endpoint"),
    ({"accelerator": {"count": 0}}, "spec.accelerator.count"),
    ({"accelerator": {"profiles": []}}, "spec.accelerator.profiles"),
    ({"accelerator": {"profiles": ["nvidia-l4", "nvidia-l4"]}}, "spec.accelerator.profiles[1]"),
    ({"parallelism": {"tensor": 0}}, "spec.parallelism.tensor"),
    ({"security": {"allowFrom": [{"namespace": "Apps"}]}}, "spec.security.allowFrom[0].namespace"),
    ({"security": {"allowFrom": [{}]}}, "spec.security.allowFrom[0].namespace"),
    (
        {"security": {"mtls": "STRICT", "allowFrom": [{"namespace": "a", "serviceAccounts": []}]}},
        "spec.security.allowFrom[0].serviceAccounts",
    ),
    ({"security": {"mtls": "DISABLE"}}, "spec.security.mtls"),
    ({"security": {"mtls": "STRICT", "jwt": {}}}, "spec.security.jwt.issuer"),
    ({"security": {"apiKeys": {}}}, "spec.security.apiKeys.secretName"),
    ({"routing": {"hosts": []}}, "spec.routing.hosts"),
    ({"routing": {"hosts": ["*.example.com"]}}, "spec.routing.hosts[0]"),
    ({"routing": {"hosts": ["a.example.com", "a.example.com"]}}, "spec.routing.hosts[1]"),
    ({"routing": {**HOSTS, "path": "v3"}}, "spec.routing.path"),
    ({"routing": {**HOSTS, "path": "/v3/"}}, "spec.routing.path"),
    ({"routing": {**HOSTS, "path": "/../v3"}}, "spec.routing.path"),
    ({"routing": {**HOSTS, "headers": [{"name": "x-model"}]}}, "spec.routing.headers[0].value"),
    ({"routing": {**HOSTS, "affinity": {"header": "a b"}}}, "spec.routing.affinity.header"),
    ({"routing": {**HOSTS, "api": "ingress"}}, "spec.routing.api"),
    ({"observability": {"podMonitor": "yes"}}, "spec.observability.podMonitor"),
    ({"rollout": {"whenNoGpuIsFree": "hope"}}, "spec.rollout.whenNoGpuIsFree"),
    ({"rollout": {"drainSeconds": -1}}, "spec.rollout.drainSeconds"),
    ({"rollout": {"strategy": "rainbow"}}, "spec.rollout.strategy"),
    ({"rollout": {"promote": "latest"}}, "spec.rollout.promote"),
    ({"rollout": {"canary": {"steps": []}}}, "spec.rollout.canary.steps"),
    ({"rollout": {"canary": {"steps": [{"weight": 100}]}}}, "spec.rollout.canary.steps[0].weight"),
    ({"rollout": {"canary": {"steps": [{"weight": 5, "pause": "long"}]}}}, "steps[0].pause"),
    ({"rollout": {"canary": {"analysis": {"maxTTFTRatio": 0.5}}}}, "analysis.maxTTFTRatio"),
    ({"rollout": {"blueGreen": {"keepOld": "10"}}}, "spec.rollout.blueGreen.keepOld"),
    ({"engine": {"type": "ollama"}}, "spec.engine.type"),
    ({"engine": {"env": [{"value": "1"}]}}, "spec.engine.env[0].name"),
    ({"engine": {"env": [{"name": "1A"}]}}, "spec.engine.env[0].name"),
    ({"engine": {"env": [{"name": "A"}, {"name": "A"}]}}, "spec.engine.env[1]"),
    ({"accelerators": {"count": 1}}, 'unknown field "spec.accelerators"'),
    ({"model": {"id": ID, "sauce": {}}}, 'unknown field "spec.model.sauce"'),
]


def made(name: str = "rule", **spec: Any) -> dict[str, Any]:
    return resource(name, **spec)


def test_every_rule_is_in_the_table() -> None:
    messages = [rule["message"] for rule in rules(definition())]
    assert messages
    for message in messages:
        assert any(message.startswith(start) for start in RULES), message
    assert len(messages) == len(RULES)


@pytest.mark.parametrize("message", RULES)
def test_a_spec_that_violates_a_rule_is_refused_with_its_message(kube: Kube, message: str) -> None:
    broken, _ = RULES[message]
    assert message in kube.refusal(made(**broken))


@pytest.mark.parametrize("message", RULES)
def test_a_spec_that_satisfies_a_rule_is_accepted(kube: Kube, message: str) -> None:
    _, kept = RULES[message]
    kube.apply(made(**kept))


@pytest.mark.parametrize(("spec", "words"), SCHEMA, ids=[words for _, words in SCHEMA])
def test_the_schema_refuses_invalid_values(kube: Kube, spec: dict[str, Any], words: str) -> None:
    assert words in kube.refusal(made(**spec))


@pytest.mark.parametrize("engine", ["transformers", "vllm", "sglang"])
def test_every_engine_is_accepted_with_variables_of_different_names(
    kube: Kube, engine: str
) -> None:
    env = [{"name": "A.b-c_1", "value": "x"}, {"name": "A"}]
    kube.apply(made(engine={"type": engine, "env": env}))
    stored = kube.get("dsd", "rule")
    assert stored is not None
    assert stored["spec"]["engine"] == {"type": engine, "env": env}


def test_the_default_engine_is_the_bundled_one(kube: Kube) -> None:
    kube.apply(made(engine={"args": ["--x"]}))
    stored = kube.get("dsd", "rule")
    assert stored is not None
    assert stored["spec"]["engine"] == {"type": "transformers", "args": ["--x"]}


def test_a_model_id_without_its_organisation_is_refused_with_an_example(kube: Kube) -> None:
    assert "such as deepseek-ai/DeepSeek-R1;" in kube.refusal(made(model={"id": "DeepSeek-R1"}))


def test_a_spec_without_a_model_is_refused(kube: Kube) -> None:
    manifest = made()
    del manifest["spec"]["model"]
    assert "spec.model" in kube.refusal(manifest)


def test_the_schema_sets_few_defaults(kube: Kube) -> None:
    """A GitOps tool sees each default as a difference between its file and the cluster."""
    kube.apply(made())
    stored = kube.get("dsd", "rule")
    assert stored is not None
    assert stored["spec"] == {
        "model": {"id": made()["spec"]["model"]["id"], "revision": "main", "dtype": "auto"},
        "replicas": 1,
    }


def test_kubectl_scale_and_explain_work(kube: Kube) -> None:
    kube.apply(made())
    kube.run("scale", "dsd", "rule", "--replicas", "3")
    stored = kube.get("dsd", "rule")
    assert stored is not None
    assert stored["spec"]["replicas"] == 3
    assert "Model to serve" in kube.run("explain", "dsd.spec.model")


def test_kubectl_scale_is_refused_with_scaling(kube: Kube) -> None:
    """A resource created without scaling holds the default replicas: 1."""
    kube.apply(made())
    kube.apply(made(scaling={"maxReplicas": 4}))
    stored = kube.get("dsd", "rule")
    assert stored is not None
    assert stored["spec"]["scaling"] == {"minReplicas": 1, "maxReplicas": 4, "metrics": "operator"}
    assert json.loads(kube.run("get", "dsd", "rule", "--subresource=scale", "-o", "json"))
    with pytest.raises(ClusterError, match="replicas and scaling exclude each other"):
        kube.run("scale", "dsd", "rule", "--replicas", "3")


def test_allowed_namespaces_and_disabled_monitoring_are_accepted(kube: Kube) -> None:
    kube.apply(
        made(
            security={"allowFrom": [{"namespace": "apps"}, {"namespace": "istio-system"}]},
            observability={"podMonitor": False},
        )
    )


def test_pod_template_keeps_fields_that_the_schema_does_not_list(kube: Kube) -> None:
    over = {"spec": {"nodeSelector": {"a": "b"}, "containers": [{"name": "server", "tty": True}]}}
    kube.apply(made(podTemplate=over))
    stored = kube.get("dsd", "rule")
    assert stored is not None
    assert stored["spec"]["podTemplate"] == over


def test_a_new_resource_has_an_observed_generation_that_tools_read_as_pending(kube: Kube) -> None:
    kube.apply(resource("new"))
    found = kube.get("dsd", "new")
    assert found is not None
    assert found["status"]["observedGeneration"] == -1
