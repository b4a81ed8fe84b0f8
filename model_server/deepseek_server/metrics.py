"""Prometheus metrics of the server, listed in docs/metrics.md.

The names are vLLM's with another prefix: `vllm:time_to_first_token_seconds` is
`deepseek_server_time_to_first_token_seconds` here (colons are reserved for recording rules), so a
dashboard is ported by replacing the prefix. All metrics have the label `model_name`.

The engine's counters are read at each scrape. Events of every token go into plain numbers on the event
loop, which also become metrics only at a scrape.
"""

import time
from collections.abc import Iterator
from typing import Protocol, Self

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from deepseek_server.engine.histogram import SIZES, Distribution, Histogram
from deepseek_server.engine.types import Engine, Load, Output, OutputStream, Request, Totals
from deepseek_server.server import request_record as record
from deepseek_server.server.retry_after import Pace

PREFIX = "deepseek_server"
FIRST_TOKEN_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 10, 20, 40, 80, 160),
)
BETWEEN_TOKENS_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5),
)
REQUEST_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
QUEUE_BUCKETS = (0.01, 0.05, *REQUEST_BUCKETS)


class Keys(Protocol):
    """A file of API keys."""

    @property
    def valid(self) -> bool:
        """Whether the newest version of the file is valid."""

    @property
    def count(self) -> int:
        """Number of valid keys."""


class Metrics:
    """The metrics of one server, and their registry."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self.pace = Pace()
        self.prompt_tokens = self.generation_tokens = 0
        self.first_token = Histogram(FIRST_TOKEN_BUCKETS)
        self.between_tokens = Histogram(BETWEEN_TOKENS_BUCKETS)
        self.request = Histogram(REQUEST_BUCKETS)
        self.queue = Histogram(QUEUE_BUCKETS)
        self.prefill = Histogram(QUEUE_BUCKETS)
        self.decode = Histogram(QUEUE_BUCKETS)
        self.prompt_length = Histogram(SIZES)
        self.generation_length = Histogram(SIZES)
        self._model_name = model_name
        self._engine: Engine | None = None
        self._keys: Keys | None = None
        self._finished = Counter(
            f"{PREFIX}_request_success",
            "Finished requests, by finish reason.",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        self._answers = Counter(
            f"{PREFIX}_http_requests",
            "HTTP responses.",
            ["model_name", "handler", "method", "status"],
            registry=self.registry,
        )
        self.registry.register(self)

    def watch(self, engine: Engine) -> None:
        """Export an engine's load and totals."""
        self._engine = engine

    def watch_keys(self, keys: Keys) -> None:
        """Export the state of the API keys file."""
        self._keys = keys

    def finished(self, reason: str) -> None:
        """Count the end of a request."""
        self.pace.ended()
        self._finished.labels(self._model_name, reason).inc()

    def answered(self, handler: str, method: str, status: int) -> None:
        """Count an HTTP response."""
        self._answers.labels(self._model_name, handler, method, str(status)).inc()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics except the two counters with additional labels."""
        load = Load(0, 0) if self._engine is None else self._engine.load
        totals = Totals() if self._engine is None else self._engine.totals
        yield self._gauge("num_requests_running", "Running requests.", load.running)
        yield self._gauge("num_requests_waiting", "Waiting requests.", load.waiting)
        yield self._gauge("kv_cache_usage_perc", "KV cache usage, 0 to 1.", load.cache)
        for name, text, count in (
            ("prompt_tokens", "Prompt tokens.", self.prompt_tokens),
            ("generation_tokens", "Generated tokens.", self.generation_tokens),
            ("prefix_cache_queries", "Tokens looked up in the prefix cache.", totals.prompt_tokens),
            ("prefix_cache_hits", "Tokens found in the prefix cache.", totals.prompt_tokens_found),
            ("num_preemptions", "Preemptions of running requests.", totals.preemptions),
        ):
            counter = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["model_name"])
            counter.add_metric([self._model_name], count)
            yield counter
        yield from self._histograms(totals)
        if self._keys is not None:
            valid = self._keys.valid  # rereads the file, so it comes before count
            yield self._gauge("api_keys_file_valid", "1 if the newest keys file is in use.", valid)
            yield self._gauge("api_keys", "Valid API keys.", self._keys.count)

    def _histograms(self, totals: Totals) -> Iterator[Metric]:
        for name, text, seen in (
            ("time_to_first_token_seconds", "Time to first token.", self.first_token),
            ("inter_token_latency_seconds", "Time between two tokens.", self.between_tokens),
            ("e2e_request_latency_seconds", "Time from submission to last token.", self.request),
            ("request_queue_time_seconds", "Time in the queue.", self.queue),
            ("request_prefill_time_seconds", "Time from queue to first token.", self.prefill),
            ("request_decode_time_seconds", "Time from first to last token.", self.decode),
            ("request_prompt_tokens", "Prompt tokens of a request.", self.prompt_length),
            ("request_generation_tokens", "Generated tokens of a request.", self.generation_length),
        ):
            yield self._histogram(name, text, seen.distribution)
        for name, text, distribution in (
            ("iteration_tokens_total", "Tokens of a step.", totals.step_tokens),
            ("step_sequences", "Sequences of a step.", totals.step_sequences),
            ("step_seconds", "Duration of a step.", totals.step_seconds),
        ):
            if distribution.bounds:  # an engine without steps has none
                yield self._histogram(name, text, distribution)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["model_name"])
        gauge.add_metric([self._model_name], value)
        return gauge

    def _histogram(self, name: str, text: str, seen: Distribution) -> Metric:
        histogram = HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=["model_name"])
        histogram.add_metric([self._model_name], seen.cumulative(), seen.total)
        return histogram


class MeasuredStream:
    """An engine's stream that times and counts its tokens.

    Args:
        stream: the engine's stream.
        request: the engine's request.
        metrics: the metrics to update, in addition to the record of the HTTP request.
    """

    def __init__(self, stream: OutputStream, request: Request, metrics: Metrics) -> None:
        self._stream, self._metrics = stream, metrics
        self._previous = time.monotonic()
        self._record = record.current()
        self._answer = record.AnswerRecord(request, self._previous)
        self._record.answers.append(self._answer)
        self._charge = self._record.charge
        metrics.prompt_tokens += len(request.prompt)
        self._charge(len(request.prompt))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        try:
            output = await self._stream.__anext__()
        except StopAsyncIteration:
            raise
        except Exception:
            self._end("error")
            raise
        tokens = len(output.token_ids)
        if tokens:
            now = time.monotonic()
            if self._answer.first_token is None:
                self._begin(output, now)
            else:
                # Tokens that arrive together share the time since the previous ones.
                self._metrics.between_tokens.observe((now - self._previous) / tokens, tokens)
            self._previous = now
            self._answer.generated += tokens
            self._metrics.generation_tokens += tokens
            self._charge(tokens)
        if output.finish_reason is not None:
            self._complete(output.finish_reason)
        return output

    def cancel(self) -> None:
        """Stop generating; counted as an abort if the answer was not complete."""
        self._stream.cancel()
        self._end("deadline" if self._record.late else "abort")

    def _begin(self, output: Output, now: float) -> None:
        """Record the first token."""
        answer, seconds = self._answer, now - self._answer.submitted
        answer.first_token, answer.cached = now, output.cached_tokens
        answer.queue_seconds = output.queue_seconds
        self._metrics.first_token.observe(seconds)
        if answer.queue_seconds is not None:
            self._metrics.queue.observe(answer.queue_seconds)
            self._metrics.prefill.observe(max(0.0, seconds - answer.queue_seconds))

    def _complete(self, reason: str) -> None:
        """Record the last token."""
        answer, now = self._answer, time.monotonic()
        self._metrics.request.observe(now - answer.submitted)
        if answer.first_token is not None:
            self._metrics.decode.observe(now - answer.first_token)
        self._metrics.prompt_length.observe(len(answer.request.prompt))
        self._metrics.generation_length.observe(answer.generated)
        self._end(reason)

    def _end(self, reason: str) -> None:
        if not self._answer.reason:
            self._answer.reason = reason
            self._metrics.finished(reason)
