"""Figures computed from recorded bytes and times."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.server.client import counters
from benchmarks.server.client.timing import Exchange, Timing, timing
from benchmarks.server.report.summary import Goals, percentile, summarize


def chunk(text: str = "", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, **more}]}


def usage(completion: int, prompt: int = 7, cached: int | None = None) -> dict[str, Any]:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details},
    }


def exchange(*events: dict[str, Any], **more: Any) -> Exchange:
    """Return an exchange sent at 10 s with an event each second from 11 s on."""
    encoded = [(11.0 + n, json.dumps(event).encode()) for n, event in enumerate(events)]
    done = [(11.0 + len(events), b"[DONE]")]
    return Exchange(**{"sent": 10.0, "ended": 20.0, "status": 200, "events": encoded + done} | more)


def test_an_event_counts_as_one_token_without_usage() -> None:
    read = timing(exchange(chunk("a"), chunk("b"), chunk("c"), chunk("", finish_reason="stop")))
    assert (read.output_tokens, read.error) == (3, "")
    assert (read.first_token, read.whole) == (1, 10)
    assert read.gaps == [(1, 1), (1, 1)]


def test_usage_counts_and_is_shared_evenly() -> None:
    read = timing(exchange(chunk("a"), chunk("bc"), usage(6, prompt=9, cached=8)))
    assert (read.prompt_tokens, read.cached_tokens, read.output_tokens) == (9, 8, 6)
    assert read.gaps == [(pytest.approx(1 / 3), 3)]
    assert read.per_token == pytest.approx(1 / 3)


def test_token_ids_give_the_number_of_tokens_of_an_event() -> None:
    read = timing(exchange(chunk("a", token_ids=[1]), chunk("", token_ids=[2, 3]), usage(3)))
    assert read.output_tokens == 3
    assert read.gaps == [(0.5, 2)]


def test_tokens_without_text_arrive_with_the_last_event() -> None:
    read = timing(exchange(chunk(""), chunk("", finish_reason="length"), usage(1)))
    assert (read.first_token, read.output_tokens, read.error) == (2, 1, "")


@pytest.mark.parametrize("part", ["content", "reasoning_content"])
def test_a_chat_s_first_event_has_a_role_and_no_token(part: str) -> None:
    deltas = ({"role": "assistant", "content": ""}, {part: "a"}, {part: "b"})
    read = timing(exchange(*({"choices": [{"delta": delta}]} for delta in deltas)))
    assert (read.first_token, read.output_tokens) == (2, 2)


@pytest.mark.parametrize(
    ("recorded", "sentence"),
    [
        (Exchange(10, 11, 429, body=b'{"error": "busy"}'), 'status 429: {"error": "busy"}'),
        (Exchange(10, 11, error="OSError: gone"), "OSError: gone"),
        (exchange(chunk("a"), {"error": {"message": "broken"}}), "broken"),
        (exchange(chunk("")), "the answer has no tokens"),
        (exchange(events=[(11, b"<html>")]), "<html>"),
    ],
)
def test_failures_are_reported(recorded: Exchange, sentence: str) -> None:
    read = timing(recorded)
    assert sentence in read.error
    assert not read.complete


def test_cut_requests_count_with_their_tokens_so_far() -> None:
    cut = timing(exchange(chunk("a"), chunk("b"), status=0, cut=True))
    whole = timing(exchange(chunk("a"), chunk("b")))
    figures = summarize([cut, whole])
    assert (figures["complete"], figures["cut"], figures["failed"]) == (1, 1, 0)
    assert figures["output_tokens"] == 4
    assert figures["requests_per_second"] == 0.1


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=3), st.integers(0, 3)), min_size=1),
    st.integers(1, 500),
)
def test_arrivals_add_up_to_the_servers_token_count(pieces, more) -> None:
    known = sum(count for _, count in pieces)
    unknown = any(count == 0 for _, count in pieces)
    total = known + more * unknown
    events = [chunk(text, token_ids=list(range(count))) for text, count in pieces]
    read = timing(exchange(*events, usage(total)))
    assert read.output_tokens == pytest.approx(total)
    assert read.error == ""


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), min_size=1), st.floats(0, 1))
def test_a_percentile_of_weighted_values_is_that_of_repeated_ones(values, share) -> None:
    repeated = sorted(value for value, weight in values for _ in range(weight))
    found = percentile(values, share)
    at_most = sum(value <= found for value in repeated)
    below = sum(value < found for value in repeated)
    assert found in repeated
    assert at_most >= share * len(repeated) * (1 - 1e-9)
    assert below <= share * len(repeated)


def finished(sent: float, first: float, gap: float, tokens: int = 3) -> Timing:
    arrivals = tuple((sent + first + gap * n, 1.0) for n in range(tokens))
    return Timing(sent, arrivals[-1][0], arrivals, prompt_tokens=5, output_tokens=tokens)


def test_a_summary() -> None:
    timings = [finished(10, 1, 0.5), finished(12, 2, 1), Timing(11, 11.5, error="no")]
    figures = summarize(timings, Goals(first_token=1.5))
    assert figures["seconds"] == 6
    assert (figures["requests"], figures["complete"], figures["failed"]) == (3, 2, 1)
    assert figures["failures"] == ["no"]
    assert figures["output_tokens_per_second"] == 1
    assert figures["total_tokens_per_second"] == round(16 / 6, 2)
    assert figures["ttft_ms"] == {"mean": 1500, "p50": 1000, "p90": 2000, "p99": 2000}
    assert figures["itl_ms"] == {"mean": 750, "p50": 500, "p90": 1000, "p99": 1000}
    assert figures["e2e_ms"]["p99"] == 4000
    assert figures["goodput_share"] == round(1 / 3, 4)


@given(st.lists(st.builds(finished, *[st.floats(0.001, 50)] * 3, st.integers(1, 9)), min_size=1))
def test_figures_are_consistent(timings) -> None:
    figures = summarize(timings, Goals())
    assert figures["goodput_share"] == 1
    assert figures["output_tokens"] == sum(timing.output_tokens for timing in timings)
    for name in ("ttft_ms", "itl_ms", "e2e_ms"):
        if figures[name]:
            shares = [figures[name][share] for share in ("p50", "p90", "p99")]
            assert shares == sorted(shares)
            assert math.isfinite(figures[name]["mean"])


def test_a_summary_of_no_requests_does_not_divide_by_zero() -> None:
    figures = summarize([], Goals(1, 1))
    assert figures["requests"] == figures["output_tokens_per_second"] == 0
    assert figures["ttft_ms"] is None


PAGE = """\
# HELP deepseek_server_prompt_tokens_total Tokens in prompts.
# TYPE deepseek_server_prompt_tokens_total counter
deepseek_server_prompt_tokens_total{model_name="a b"} 12.0
deepseek_server_answers_total{model_name="m",status="200"} 3.0
deepseek_server_answers_total{model_name="m",status="404"} 1.5e+01
deepseek_server_num_requests_running{model_name="m"} 2.0
deepseek_server_wait_seconds_sum 0.5
"""


def test_counters_are_read_and_compared() -> None:
    before = counters.parse(PAGE)
    assert before == {
        "deepseek_server_prompt_tokens_total": 12,
        "deepseek_server_answers_total": 18,
        "deepseek_server_wait_seconds_sum": 0.5,
    }
    after = counters.parse(PAGE.replace("12.0", "20.0") + "vllm:new_total 2\n")
    assert counters.moved(before, after) == {"prompt_tokens_total": 8, "new_total": 2}
