"""The CRD's rules without an API server; tests/integration/test_crd_rules.py uses a real one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api.crd import definition
from deepseek_operator.cli.rules import broken, with_defaults
from tests.support.crd_rules import RULES
from tests.support.kube import resource
from tests.support.repository import ROOT
from tests.unit.operator.cli.command import deepseek

EXAMPLES = ROOT / "examples"
SCHEMA = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def violations(manifest: dict[str, Any]) -> list[str]:
    return list(broken(with_defaults(manifest, SCHEMA), SCHEMA))


def made(name: str = "rule", **spec: Any) -> dict[str, Any]:
    return resource(name, **spec)


@pytest.mark.parametrize("message", RULES)
def test_a_violated_rule_is_reported_and_a_satisfied_one_is_not(message: str) -> None:
    wrong, kept = RULES[message]
    assert any(message in found for found in violations(made(**wrong)))
    assert violations(made(**kept)) == []


@pytest.mark.parametrize("command", ["plan", "render"])
def test_commands_report_the_field_and_the_rules_message(command: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(made(scaling={"minReplicas": 3, "maxReplicas": 2})))
    result = deepseek(command, file)
    assert (result.code, result.out) == (2, "")
    assert "spec.scaling: scaling.minReplicas must not be greater" in result.err


def test_a_message_expression_is_evaluated() -> None:
    (found,) = violations(made(model={"id": "DeepSeek-R1"}))
    assert found.startswith(
        "spec.model: model.id must be a hub repository such as deepseek-ai/DeepSeek-R1;"
    )


def test_defaults_are_applied_before_the_rules() -> None:
    """Scaling has the default minReplicas 1, and replicas beside it has its default."""
    assert violations(made(scaling={"maxReplicas": 1})) == []


def test_a_value_of_a_wrong_type_violates_no_rule() -> None:
    assert violations(made(scaling={"minReplicas": "many", "maxReplicas": 1})) == []
    assert violations(made(accelerator=3)) == []


def test_transition_rules_do_not_apply_to_a_new_resource() -> None:
    schema = {"x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "stays"}]}
    assert list(broken(1, schema)) == []


def test_every_example_satisfies_the_rules() -> None:
    found = [
        item
        for path in EXAMPLES.rglob("*.yaml")
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if item and item.get("kind") == "DeepSeekDeployment"
    ]
    assert found
    assert [violations(item) for item in found] == [[] for _ in found]
