"""The rows of rows.py, measured on a running server."""

from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from deepseek_server.bench import counters, rows
from deepseek_server.bench.failures import BenchError
from deepseek_server.bench.load import Closed, Open, poisson
from deepseek_server.bench.processes import timings
from deepseek_server.bench.progress import bar
from deepseek_server.bench.prompts import Length, Prompt, Prompts
from deepseek_server.bench.summary import summarize
from deepseek_server.bench.target import Target
from deepseek_server.bench.timing import Timing

PREFIX_REPEATS = 5
PREFIX_QUESTION = 16  # tokens after the common ones
PEAK_REQUESTS = 2048
PEAK_SECONDS = 12.0
MIXED_SECONDS = 20.0
MIXED_TAIL_SECONDS = 10.0


@dataclass
class Measured:
    """A server, and what prompts for it are made of.

    Attributes:
        target: the server.
        vocabulary: prompts are made of tokens below this one.
        context: tokens of a prompt and its answer together at most.
        budget: seconds after which a row is cut.
        processes: how many send the load.
    """

    target: Target
    vocabulary: int
    context: int
    budget: float = float("inf")
    processes: int = 1
    _seed: int = 0

    def warm_up(self, at_once: int = 1) -> None:
        """Let the server meet this many at once before it counts, and a longer prompt."""
        self._closed("warm-up", 2 * at_once, at_once, Length(32), Length(16))
        longer = Length(min(2048, self.context // 2))
        self._closed("warm-up", 2, 2, longer, Length(4))

    def closed(self, at_once: int) -> dict[str, Any]:
        """Output tokens per second of so many requests at once."""
        count = at_once * rows.ROUNDS.get(at_once, rows.FEWEST_ROUNDS)
        before = counters.read(self.target)
        asked = (count, at_once, rows.INPUT, rows.OUTPUT)
        figures = _checked(summarize(self._closed(f"{at_once} at once", *asked)))
        return figures | self._counted(before)

    def mixed(self) -> dict[str, Any]:
        """Gaps between tokens of requests that come at random, at a share of the peak."""
        longest = (rows.MIXED_INPUT, rows.MIXED_OUTPUT)
        peak = self._closed(
            "peak", PEAK_REQUESTS, rows.MIXED_AT_ONCE, *longest, seconds=PEAK_SECONDS
        )
        tokens_per_second = _checked(summarize(peak))[rows.RATE]
        rate = rows.MIXED_SHARE * tokens_per_second / rows.MIXED_OUTPUT.mean
        starts = [s for s in poisson(rate, 100_000, self._next_seed()) if s < MIXED_SECONDS]
        messages = self._messages(len(starts), *longest)
        before = counters.read(self.target)
        cut = min(self.budget, MIXED_SECONDS + MIXED_TAIL_SECONDS)
        figures = _checked(summarize(self._run("mixed", Open(messages, starts, cut_seconds=cut))))
        gaps = figures["itl_ms"] or {"p50": 0.0, "p99": 0.0}
        ratio = gaps["p99"] / gaps["p50"] if gaps["p50"] else 0.0
        asked = {"peak_tokens_per_second": tokens_per_second, "offered_per_second": round(rate, 3)}
        return {"itl_p99_to_p50": round(ratio, 3), **asked, **figures, **self._counted(before)}

    def prefix(self) -> dict[str, Any]:
        """Time to the first token of a long prompt, and again when its beginning is cached."""
        length = min(rows.PREFIX, self.context // 2)
        first, second, cached = [], [], 0
        for _ in range(PREFIX_REPEATS):
            prompts = Prompts(
                Length(PREFIX_QUESTION), Length(4), self.vocabulary, length, self._next_seed()
            )
            pair = [self._one(prompt) for prompt in islice(prompts.draw(), 2)]
            first.append(pair[0].first_token)
            second.append(pair[1].first_token)
            cached = pair[1].cached_tokens
        return {
            "second_to_first": round(median(second) / median(first), 4),
            "prefix_tokens": length,
            "cached_tokens": cached,
            "first_ms": round(1e3 * median(first), 3),
            "second_ms": round(1e3 * median(second), 3),
        }

    def first_token(self) -> float:
        """When the first token of a short request arrived, on time.monotonic()."""
        prompts = Prompts(Length(8), Length(1), self.vocabulary, seed=self._next_seed())
        return self._one(next(prompts.draw())).arrivals[0][0]

    def _one(self, prompt: Prompt) -> Timing:
        (timing,) = self._run("one request", Closed([self.target.completion(prompt)], 1))
        _checked(summarize([timing]))
        return timing

    def _closed(
        self,
        what: str,
        count: int,
        at_once: int,
        input: Length,  # noqa: A002 - as in Prompts
        output: Length,
        seconds: float = float("inf"),
    ) -> list[Timing]:
        messages = self._messages(count, input, output)
        cut = min(self.budget, seconds)
        return self._run(what, Closed(messages, at_once, cut_seconds=cut))

    def _messages(self, count: int, input: Length, output: Length) -> list[bytes]:  # noqa: A002
        prompts = Prompts(input, output, self.vocabulary, seed=self._next_seed())
        return [self.target.completion(p) for p in islice(prompts.draw(), count)]

    def _run(self, what: str, load: Closed | Open) -> list[Timing]:
        with bar(what, len(load.messages)) as step:
            return timings(self.target, load, self.processes, step)

    def _counted(self, before: dict[str, float]) -> dict[str, Any]:
        moved = counters.moved(before, counters.read(self.target))
        return {"server": moved} if moved else {}

    def _next_seed(self) -> int:
        self._seed += 1
        return self._seed


def _checked(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures, if there are any: a server that refuses everything is not fast."""
    if figures["failed"] or not figures["output_tokens"]:
        why = "; ".join(figures["failures"]) or "there were no tokens in the time"
        raise BenchError(f"{figures['failed']} of {figures['requests']} requests failed: {why}")
    return figures
