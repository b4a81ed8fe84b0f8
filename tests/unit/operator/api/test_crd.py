"""Tests of the generated CRD: descriptions for users, and Kubernetes' requirements."""

from collections.abc import Iterator
from typing import Any

from deepseek_operator.api.crd import definition

SCHEMA = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if "items" in node:
        yield from fields(node["items"], f"{path}[]")


def test_every_field_has_a_description() -> None:
    bare = [
        path
        for path, node in fields(SCHEMA, "")
        if path != ".metadata" and not node.get("description")
    ]
    assert bare == []


def test_schema_is_structural() -> None:
    for path, node in fields(SCHEMA, ""):
        assert isinstance(node["type"], str), path
        assert not node.keys() & {"$ref", "anyOf", "allOf", "oneOf", "title"}, path


def test_only_the_model_id_is_required() -> None:
    spec = SCHEMA["properties"]["spec"]
    assert spec["required"] == ["model"]
    assert spec["properties"]["model"]["required"] == ["id"]


def test_strings_in_rules_have_a_maximum_length() -> None:
    """An unbounded string in a CEL rule can make the API server reject the CRD."""
    model = SCHEMA["properties"]["spec"]["properties"]["model"]["properties"]
    assert model["id"]["maxLength"] == 200
    assert model["source"]["properties"]["hostPath"]["properties"]["path"]["maxLength"] == 1024


def test_pod_template_preserves_unknown_fields() -> None:
    template = SCHEMA["properties"]["spec"]["properties"]["podTemplate"]["properties"]["spec"]
    assert template["x-kubernetes-preserve-unknown-fields"] is True


def test_conditions_merge_by_type() -> None:
    conditions = SCHEMA["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
