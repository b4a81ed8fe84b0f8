"""Tests of parsing pods' metrics."""

from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.custom_metrics.api import quantity
from deepseek_operator.custom_metrics.load import SAMPLES, sums
from tests.unit.operator.custom_metrics.asking import METRICS


def test_samples_are_found_by_their_whole_name() -> None:
    assert sums(METRICS) == {
        "deepseek_server_num_requests_running": 3.0,
        "deepseek_server_num_requests_waiting": 2.0,
        "deepseek_server_kv_cache_usage_perc": 0.125,
    }


def test_shares_of_several_groups_in_a_pod_are_averaged_and_requests_added() -> None:
    text = """
vllm:num_requests_running{engine="0",model_name="r1"} 3.0
vllm:num_requests_running{engine="1",model_name="r1"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="r1"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="r1"} 0.75
"""
    assert sums(text) == {"vllm:num_requests_running": 7.0, "vllm:kv_cache_usage_perc": 0.5}


@given(st.text())
def test_any_text_of_a_pod_can_be_parsed(text: str) -> None:
    assert sums(text) == {} or any(sample in text for sample in SAMPLES)


@given(st.floats(min_value=0, max_value=1e9))
def test_a_quantity_has_a_precision_of_a_thousandth(value: float) -> None:
    text = quantity(value)
    number = int(text[:-1]) / 1000 if text.endswith("m") else int(text)
    assert abs(number - value) <= 0.0005 + value * 1e-9
    assert quantity(5.0) == "5"
    assert quantity(12.5) == "12500m"
