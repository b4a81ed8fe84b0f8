"""Rate limits of API keys, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.server.rate_limits import Account, Allowance, duration


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def account(**allowance: int) -> tuple[Account, Clock]:
    clock = Clock()
    return Account(Allowance(**allowance), clock), clock


def test_without_limits_all_requests_enter_and_no_headers_are_sent() -> None:
    free, _ = account()
    assert [free.enter() for _ in range(1000)] == [None] * 1000
    free.charge(10**9)
    assert free.enter() is None
    assert free.headers() == {}


def test_the_request_bucket_refills_steadily() -> None:
    some, clock = account(requests_per_minute=3)
    assert [some.enter() for _ in range(3)] == [None] * 3
    refusal = some.enter()
    assert refusal is not None
    assert refusal.what == "3 requests per minute"
    assert refusal.seconds == pytest.approx(20)
    clock.now += refusal.seconds
    assert some.enter() is None
    assert some.enter() is not None


def test_a_rejected_request_uses_nothing() -> None:
    some, clock = account(requests_per_minute=1)
    assert some.enter() is None
    for _ in range(5):
        assert some.enter() is not None
    clock.now += 60
    assert some.enter() is None


def test_tokens_are_charged_as_generated_and_debt_delays_the_next_request() -> None:
    some, clock = account(tokens_per_minute=600)
    assert some.enter() is None
    some.charge(1199)
    refusal = some.enter()
    assert refusal is not None
    assert refusal.what == "600 tokens per minute"
    assert refusal.seconds == pytest.approx(60)
    assert some.headers()["x-ratelimit-remaining-tokens"] == "0"
    clock.now += 60
    assert some.enter() is None


def test_concurrent_requests() -> None:
    some, _ = account(max_concurrent=2)
    assert [some.enter(), some.enter()] == [None, None]
    refusal = some.enter()
    assert refusal is not None
    assert refusal.what == "2 concurrent requests"
    some.leave()
    assert some.enter() is None


def test_headers_match_openai() -> None:
    some, clock = account(requests_per_minute=60, tokens_per_minute=6000)
    some.enter()
    some.charge(600)
    clock.now += 0.5
    assert some.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "500ms",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5450",
        "x-ratelimit-reset-tokens": "5.5s",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.017, "17ms"), (1, "1s"), (8.64, "8.64s"), (60, "1m0s"), (361.5, "6m1.5s")],
)
def test_durations_match_openai(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(1, 100), st.lists(st.floats(0, 30), max_size=200))
def test_no_interval_exceeds_the_limit(per_minute: int, pauses: list[float]) -> None:
    some, clock = account(requests_per_minute=per_minute)
    entered = []
    for pause in pauses:
        clock.now += pause
        if some.enter() is None:
            entered.append(clock.now)
    for first, start in enumerate(entered):
        for count, end in enumerate(entered[first:], start=1):
            assert count <= per_minute * (1 + (end - start) / 60) + 1e-3


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5000)), min_size=1),
)
def test_a_request_after_the_stated_wait_is_admitted(
    per_minute: int, uses: list[tuple[float, int]]
) -> None:
    some, clock = account(tokens_per_minute=per_minute)
    for pause, tokens in uses:
        clock.now += pause
        some.charge(tokens)
    if refusal := some.enter():
        clock.now += refusal.seconds
        assert some.enter() is None
