"""Tests of the strategic merge of podTemplate."""

from deepseek_operator.render.merge import merge


def test_null_removes_a_field() -> None:
    assert merge({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": None}}) == {"b": {"d": 3}}


def test_lists_without_a_key_are_replaced() -> None:
    assert merge({"args": ["a"]}, {"args": ["b"]}) == {"args": ["b"]}


def test_the_base_is_not_modified() -> None:
    base = {"env": [{"name": "A", "value": "1"}]}
    merge(base, {"env": [{"name": "A", "value": "2"}]})
    assert base == {"env": [{"name": "A", "value": "1"}]}


def test_tolerations_are_not_duplicated() -> None:
    base = {"tolerations": [{"key": "a"}]}
    assert merge(base, {"tolerations": [{"key": "a"}, {"key": "b"}]}) == {
        "tolerations": [{"key": "a"}, {"key": "b"}]
    }


def test_a_volume_or_variable_of_another_type_replaces_the_base() -> None:
    base = {
        "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
        "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
    }
    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}
    over = {"volumes": [claim], "env": [{"name": "HF_TOKEN", "value": "x"}]}
    assert merge(base, over) == over


def test_a_volume_of_the_same_type_is_merged() -> None:
    base = {"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]}
    over = {"volumes": [{"name": "shm", "emptyDir": {"sizeLimit": "2Gi"}}]}
    assert merge(base, over)["volumes"] == [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}
    ]


def test_node_selector_terms_of_both_sides_must_match() -> None:
    def term(key: str) -> dict[str, object]:
        return {"matchExpressions": [{"key": key}]}

    merged = merge(
        {"nodeSelectorTerms": [term("a"), term("b")]},
        {"nodeSelectorTerms": [term("c"), {"matchFields": [{"key": "d"}]}]},
    )
    assert merged["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "a"}, {"key": "c"}]},
        {"matchExpressions": [{"key": "a"}], "matchFields": [{"key": "d"}]},
        {"matchExpressions": [{"key": "b"}, {"key": "c"}]},
        {"matchExpressions": [{"key": "b"}], "matchFields": [{"key": "d"}]},
    ]
