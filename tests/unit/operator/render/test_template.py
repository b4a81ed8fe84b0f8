"""Tests that no value can become YAML structure."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.render.children import children
from deepseek_operator.render.template import render, serialised
from tests.support.operator.resources import SETTINGS, resource

# Everything that the API server can store: JSON without lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_a_serialised_value_is_parsed_back_unchanged(value: object) -> None:
    text = serialised(value)
    assert "\n" not in text
    assert yaml.safe_load(f"a: [{text}]") == {"a": [value]}


def test_a_long_key_is_parsed_back_unchanged() -> None:
    value = {"\u0301" * 400: None}
    assert yaml.safe_load(serialised(value)) == value


@given(TEXT.filter(lambda text: 0 < len(text) <= 200))
def test_hostile_text_stays_text(text: str) -> None:
    body = resource(
        model={"id": "x", "servedName": text, "source": {"hostPath": {"path": "/" + text}}},
        # With a prefix, because arguments that look like the operator's flags are rejected.
        engine={
            "args": [f"x{text}", "}}{{ 1 }}", "\n- evil: yes"],
            "env": [{"name": "TEXT", "value": text}],
        },
    )
    decision = decide(body, SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    *_, deployment = children(decision)
    pod = deployment["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert server["args"][2:] == [f"x{text}", "}}{{ 1 }}", "\n- evil: yes"]
    assert {"name": "TEXT", "value": text} in server["env"]
    assert pod["volumes"][-1]["hostPath"]["path"] == "/" + text


def test_a_missing_template_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("service.yaml.j2", metadata={})
