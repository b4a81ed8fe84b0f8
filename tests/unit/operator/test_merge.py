"""Strategic merge."""

from deepseek_operator.render.merge import merge


def test_null_removes() -> None:
    assert merge({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": None}}) == {"b": {"d": 3}}


def test_lists_without_a_key_are_replaced() -> None:
    assert merge({"args": ["a"]}, {"args": ["b"]}) == {"args": ["b"]}


def test_the_base_is_left_alone() -> None:
    base = {"env": [{"name": "A", "value": "1"}]}
    merge(base, {"env": [{"name": "A", "value": "2"}]})
    assert base == {"env": [{"name": "A", "value": "1"}]}


def test_tolerations_are_not_doubled() -> None:
    base = {"tolerations": [{"key": "a"}]}
    assert merge(base, {"tolerations": [{"key": "a"}, {"key": "b"}]}) == {
        "tolerations": [{"key": "a"}, {"key": "b"}]
    }
