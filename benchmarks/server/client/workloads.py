"""Kinds of load on one server, each with its figures."""

from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from benchmarks.server.client import counters
from benchmarks.server.client.load import Closed, Open, poisson
from benchmarks.server.client.processes import timings
from benchmarks.server.client.prompts import Length, Prompt, Prompts
from benchmarks.server.client.target import Target
from benchmarks.server.client.timing import Timing
from benchmarks.server.failures import BenchError
from benchmarks.server.progress import bar
from benchmarks.server.report.summary import RATE, Goals, summarize

FOREVER = float("inf")
PEAK_REQUESTS = 2048
PEAK_SECONDS = 12.0
TAIL_SECONDS = 10.0  # time for open-loop requests after the last arrival
AGAIN_REPEATS = 5
QUESTION = 16  # tokens after a common prefix


@dataclass(frozen=True)
class Lengths:
    """Lengths of requests.

    Attributes:
        input: tokens of prompts.
        output: tokens of answers.
    """

    input: Length
    output: Length


WARM, WARM_ANSWER = Lengths(Length(32), Length(16)), Length(4)
WARM_PROMPT = 2048


@dataclass
class Workloads:
    """Loads on a server.

    Attributes:
        target: the server.
        vocabulary: prompts consist of tokens below this one.
        context: maximum tokens of a prompt and its answer together.
        budget: seconds after which a load is cut off.
        processes: number of processes that send it.
        goals: latency goals for goodput; None to omit goodput.
    """

    target: Target
    vocabulary: int
    context: int
    budget: float = FOREVER
    processes: int = 1
    goals: Goals | None = None
    _seed: int = 0

    def warm_up(self, at_once: int = 1, *, prompt: bool = True) -> None:
        """Warm up the server with concurrent requests and, if `prompt`, with a longer prompt."""
        self._closed("warm-up", at_once, 2 * at_once, WARM)
        if not prompt:
            return
        longer = Lengths(Length(min(WARM_PROMPT, self.context // 2)), WARM_ANSWER)
        self._closed("warm-up", 2, 2, longer)

    def closed(self, at_once: int, count: int, lengths: Lengths) -> dict[str, Any]:
        """Run a closed load of `count` requests, `at_once` of them concurrently."""
        before = counters.read(self.target)
        figures = self._summary(self._closed(f"{at_once} at once", at_once, count, lengths))
        gaps = figures["itl_ms"]
        decode = round(1e3 * at_once / gaps["mean"], 2) if gaps and gaps["mean"] else None
        return {"decode_tokens_per_second": decode, **figures, **self._counted(before)}

    def open(self, rate: float, seconds: float, lengths: Lengths) -> dict[str, Any]:
        """Run an open load of random arrivals, with a mean of `rate` requests per second.

        Raises:
            BenchError: no request arrived in the time.
        """
        count = round(2 * rate * seconds) + 20  # more than will arrive in the time
        starts = [s for s in poisson(rate, count, self._next_seed()) if s < seconds]
        if not starts:
            raise BenchError(
                f"at {rate:.3g} requests per second none arrived in {seconds:g} s: "
                "measure longer or at a higher rate"
            )
        messages = self._messages(len(starts), lengths)
        before = counters.read(self.target)
        cut = min(self.budget, seconds + TAIL_SECONDS)
        figures = self._summary(self._run("at random", Open(messages, starts, cut)))
        gaps = figures["itl_ms"]
        spread = round(gaps["p99"] / gaps["p50"], 3) if gaps and gaps["p50"] else None
        offered = {"itl_p99_to_p50": spread, "offered_per_second": round(rate, 4)}
        return {**offered, **figures, **self._counted(before)}

    def at_share(
        self, share: float, at_once: int, seconds: float, lengths: Lengths
    ) -> dict[str, Any]:
        """Run an open load of random arrivals, at a share of the peak of `at_once` requests."""
        peak = self._closed("peak", at_once, PEAK_REQUESTS, lengths, PEAK_SECONDS)
        reached = self._summary(peak)[RATE]
        rate = share * reached / lengths.output.mean
        return {"peak_tokens_per_second": reached, **self.open(rate, seconds, lengths)}

    def again(self, prefix: int) -> dict[str, Any]:
        """Measure the time to first token of a long prompt, and of one with the same prefix."""
        prefix = min(prefix, self.context // 2)
        first, second, cached = [], [], 0
        for _ in range(AGAIN_REPEATS):
            seed = self._next_seed()
            prompts = Prompts(Length(QUESTION), WARM_ANSWER, self.vocabulary, prefix, seed)
            pair = [self._one(prompt) for prompt in islice(prompts.draw(), 2)]
            first.append(pair[0].first_token)
            second.append(pair[1].first_token)
            cached = pair[1].cached_tokens
        return {
            "second_to_first": round(median(second) / median(first), 4),
            "prefix_tokens": prefix,
            "cached_tokens": cached,
            "first_ms": round(1e3 * median(first), 3),
            "second_ms": round(1e3 * median(second), 3),
        }

    def first_token(self) -> float:
        """Return the arrival time of the first token of a short request, by time.monotonic()."""
        prompts = Prompts(Length(8), Length(1), self.vocabulary, seed=self._next_seed())
        return self._one(next(prompts.draw())).arrivals[0][0]

    def _one(self, prompt: Prompt) -> Timing:
        (timing,) = self._run("one request", Closed([self.target.completion(prompt)], 1))
        self._summary([timing])
        return timing

    def _closed(
        self, what: str, at_once: int, count: int, lengths: Lengths, seconds: float = FOREVER
    ) -> list[Timing]:
        messages = self._messages(count, lengths)
        cut = min(self.budget, seconds)
        return self._run(what, Closed(messages, at_once, cut_seconds=cut))

    def _messages(self, count: int, lengths: Lengths) -> list[bytes]:
        prompts = Prompts(lengths.input, lengths.output, self.vocabulary, seed=self._next_seed())
        return [self.target.completion(prompt) for prompt in islice(prompts.draw(), count)]

    def _run(self, what: str, load: Closed | Open) -> list[Timing]:
        with bar(what, len(load.messages)) as step:
            return timings(self.target, load, self.processes, step)

    def _summary(self, timings: list[Timing]) -> dict[str, Any]:
        """Return the figures; a failed request is an error, so that refusals do not look fast.

        Raises:
            BenchError: requests failed, or no token was received.
        """
        figures = summarize(timings, self.goals)
        if figures["failed"] or not figures["output_tokens"]:
            why = "; ".join(figures["failures"]) or "no tokens were received in the time"
            raise BenchError(f"{figures['failed']} of {figures['requests']} requests failed: {why}")
        return figures

    def _counted(self, before: dict[str, float]) -> dict[str, Any]:
        moved = counters.moved(before, counters.read(self.target))
        return {"server": moved} if moved else {}

    def _next_seed(self) -> int:
        self._seed += 1
        return self._seed
