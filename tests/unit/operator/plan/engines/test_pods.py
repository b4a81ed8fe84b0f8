"""Pods of other engines."""

from typing import Any

import pytest

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.diagnosis.findings import find
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed, PodView
from deepseek_operator.render.children import children
from tests.support.operator.resources import NOW, R1, SETTINGS, pod, resource

H200 = {"profile": "nvidia-h200", "count": 8}
ENGINES = ["vllm", "sglang"]


def made(engine: dict[str, Any], **spec: Any) -> dict[str, dict[str, Any]]:
    decision = decide(resource(engine=engine, accelerator=H200, **spec), SETTINGS, Observed())
    assert isinstance(decision, DesiredState), decision
    return {manifest["kind"]: manifest for manifest in children(decision)}


def pod_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    template: dict[str, Any] = manifests["Deployment"]["spec"]["template"]
    return template


def server_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    server: dict[str, Any] = pod_of(manifests)["spec"]["containers"][0]
    return server


@pytest.mark.parametrize("engine", ENGINES)
def test_config_file_is_not_mounted_for_other_engines(engine: str) -> None:
    manifests = made({"type": engine})
    # Pods of the bundled server that are not replaced yet need it.
    assert "ConfigMap" in manifests
    pod = pod_of(manifests)
    assert "config" not in [volume["name"] for volume in pod["spec"]["volumes"]]
    assert "/etc/deepseek" not in [
        item["mountPath"] for item in server_of(manifests)["volumeMounts"]
    ]
    assert "deepseek-operator.io/config-hash" not in pod["metadata"].get("annotations", {})


@pytest.mark.parametrize("engine", ENGINES)
def test_pods_pass_the_restricted_pod_security_standard(engine: str) -> None:
    manifests = made({"type": engine})
    assert pod_of(manifests)["spec"]["securityContext"]["runAsNonRoot"] is True
    assert server_of(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    written = {item["mountPath"] for item in server_of(manifests)["volumeMounts"]}
    assert {"/tmp", "/cache", "/dev/shm"} <= written  # noqa: S108 - volumes
    assert server_of(manifests)["workingDir"] == "/tmp"  # noqa: S108 - a volume


def test_probes_use_the_paths_of_each_engine() -> None:
    def paths(engine: str) -> list[str]:
        server = server_of(made({"type": engine}))
        return [
            server[f"{name}Probe"]["httpGet"]["path"]
            for name in ("startup", "liveness", "readiness")
        ]

    assert paths("transformers") == ["/health/live", "/health/live", "/health/ready"]
    assert paths("vllm") == ["/health", "/health", "/health"]
    assert paths("sglang") == ["/ready", "/health", "/ready"]


@pytest.mark.parametrize("engine", ["transformers", *ENGINES])
def test_user_variables_override_the_operator_s(engine: str) -> None:
    secret = {"id": R1, "source": {"huggingFace": {"tokenSecret": {"name": "hf"}}}}
    env = [{"name": "HF_HOME", "value": "/mine"}, {"name": "HF_TOKEN", "value": "t"}, {"name": "X"}]
    found = server_of(made({"type": engine, "env": env}, model=secret))["env"]
    names = [item["name"] for item in found]
    assert len(set(names)) == len(names)
    values = {item["name"]: item.get("value") for item in found}
    assert (values["HF_HOME"], values["HF_TOKEN"], values["X"]) == ("/mine", "t", "")


def test_proxy_in_a_variable_is_reachable() -> None:
    env = [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}]
    egress = made({"type": "vllm", "env": env})["NetworkPolicy"]["spec"]["egress"]
    ports = [port["port"] for rule in egress for port in rule.get("ports", [])]
    assert 3128 in ports


def test_engine_image_can_be_overridden() -> None:
    assert server_of(made({"type": "vllm", "image": "own/vllm:1"}))["image"] == "own/vllm:1"


@pytest.mark.parametrize("engine", ENGINES)
def test_exit_codes_of_other_engines_are_reported_as_crashes(
    engine: str,
) -> None:
    ended = {"exitCode": 3, "reason": "Error", "message": "Traceback\nValueError: no such flag"}
    view = PodView.of(
        pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, last={"terminated": ended})
    )
    decision = decide(resource(engine={"type": engine}, accelerator=H200), SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    finding = find(decision, Observed(pods=(view,)))
    assert finding is not None
    assert finding.reason == findings.SERVER_CRASHED
    assert "ValueError: no such flag" in finding.message


@pytest.mark.parametrize("engine", ENGINES)
def test_loading_of_other_engines_is_reported_without_numbers(engine: str) -> None:
    view = PodView.of(pod(state={"running": {"startedAt": NOW}}))
    decision = decide(resource(engine={"type": engine}, accelerator=H200), SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    finding = find(decision, Observed(pods=(view,)))
    assert finding is not None
    assert (finding.reason, finding.summary) == ("Loading", "Loading the model")
