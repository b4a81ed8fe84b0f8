"""Tests of the reference of the custom resource: every field, with type, default and limits."""

from typing import Any

from deepseek_operator.api.reference import PLACE, text
from tests.unit.operator.api.test_crd import SCHEMA, fields

TEXT = text()


def row(section: str, field: str) -> str:
    table = TEXT.partition(f"# `{section}`\n")[2].partition("\n#")[0]
    (line,) = (
        line for line in table.splitlines() if line.startswith((f"| `{field}`", f"| **`{field}`"))
    )
    return line


def test_every_field_has_a_row() -> None:
    for path, _ in fields(SCHEMA, ""):
        section, _, field = path.removeprefix(".").rpartition(".")
        if section.startswith(("spec", "status")):
            assert row(section, field), path


def test_a_row_has_type_default_and_limits() -> None:
    assert row("spec", "replicas") == (
        "| `replicas` | integer | `1` | Number of replicas of the model, which share the requests. "
        "0 stops serving and frees the GPUs. Ignored with scaling, where it must be absent or 1. "
        "From 0 to 1000. |"
    )
    assert row("spec", "model").startswith("| **`model`** | object |")
    assert row("spec.rollout", "whenNoGpuIsFree").startswith(
        "| `whenNoGpuIsFree` | `inPlace` or `wait` | `inPlace` |"
    )
    assert "matches `^\\S*$`" in row("spec.engine", "image")
    assert "| map of string |" in row("spec.podTemplate.metadata", "labels")


def test_every_validation_rule_is_listed() -> None:
    def rules(node: Any) -> list[str]:
        if isinstance(node, list):
            return [message for item in node for message in rules(item)]
        if not isinstance(node, dict):
            return []
        own = [rule["message"] for rule in node.get("x-kubernetes-validations", [])]
        return own + [message for child in node.values() for message in rules(child)]

    assert rules(SCHEMA)
    assert all(f"- {message}\n" in TEXT for message in rules(SCHEMA))


def test_the_file_is_up_to_date() -> None:
    assert PLACE.read_text() == TEXT, "run `make generate`"
