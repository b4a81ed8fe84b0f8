"""What the server counts, for Prometheus.

The names are those of vLLM with our prefix: `vllm:time_to_first_token_seconds` is
`deepseek_server_time_to_first_token_seconds` here (a colon is reserved for recording rules), so a
dashboard moves over by replacing the prefix. All carry the label `model_name`.

    num_requests_running, num_requests_waiting   requests in the engine, in its queue
    time_to_first_token_seconds                  from the request's submission
    inter_token_latency_seconds                  between two steps of one request
    e2e_request_latency_seconds                  from submission to the last token
    prompt_tokens_total, generation_tokens_total tokens of requests that were let in
    request_success_total{finished_reason}       stop, length, abort (client gone), error
    http_requests_total{handler,method,status}   every answer of the HTTP server
"""

import time
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deepseek_server.engine.interface import Engine, Output, OutputStream

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


class Metrics:
    """The metrics of one server and its registry."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self._model_name = model_name

        def gauge(name: str, text: str) -> Gauge:
            metric = Gauge(f"{PREFIX}_{name}", text, ["model_name"], registry=self.registry)
            return metric.labels(model_name)

        def counter(name: str, text: str) -> Counter:
            metric = Counter(f"{PREFIX}_{name}", text, ["model_name"], registry=self.registry)
            return metric.labels(model_name)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            metric = Histogram(
                f"{PREFIX}_{name}", text, ["model_name"], registry=self.registry, buckets=buckets
            )
            return metric.labels(model_name)

        self._running = gauge("num_requests_running", "Requests that are being answered.")
        self._waiting = gauge("num_requests_waiting", "Requests that wait for their turn.")
        self.first_token = histogram(
            "time_to_first_token_seconds", "Submission to first token.", FIRST_TOKEN_BUCKETS
        )
        self.between_tokens = histogram(
            "inter_token_latency_seconds", "Between two tokens.", BETWEEN_TOKENS_BUCKETS
        )
        self.request = histogram(
            "e2e_request_latency_seconds", "Submission to last token.", REQUEST_BUCKETS
        )
        self.prompt_tokens = counter("prompt_tokens", "Tokens in prompts.")
        self.generation_tokens = counter("generation_tokens", "Tokens generated.")
        self._finished = Counter(
            f"{PREFIX}_request_success",
            "Requests that ended, by reason.",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        self._answers = Counter(
            f"{PREFIX}_http_requests",
            "Answers of the HTTP server.",
            ["model_name", "handler", "method", "status"],
            registry=self.registry,
        )

    def watch(self, engine: Engine) -> None:
        """Read the engine's load whenever the metrics are read."""
        self._running.set_function(lambda: engine.load.running)
        self._waiting.set_function(lambda: engine.load.waiting)

    def finished(self, reason: str) -> None:
        """Count a request's end."""
        self._finished.labels(self._model_name, reason).inc()

    def answered(self, handler: str, method: str, status: int) -> None:
        """Count an answer of the HTTP server."""
        self._answers.labels(self._model_name, handler, method, str(status)).inc()


class MeasuredStream:
    """An engine's stream whose tokens are timed and counted on their way."""

    def __init__(self, stream: OutputStream, prompt_tokens: int, metrics: Metrics) -> None:
        self._stream, self._metrics = stream, metrics
        self._submitted = self._previous = time.monotonic()
        self._begun = self._ended = False
        metrics.prompt_tokens.inc(prompt_tokens)

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
        now = time.monotonic()
        if self._begun:
            self._metrics.between_tokens.observe(now - self._previous)
        else:
            self._metrics.first_token.observe(now - self._submitted)
        self._begun, self._previous = True, now
        self._metrics.generation_tokens.inc(len(output.token_ids))
        if output.finish_reason is not None:
            self._metrics.request.observe(now - self._submitted)
            self._end(output.finish_reason)
        return output

    def cancel(self) -> None:
        """Stop generating; counted as an abort if the answer was not complete."""
        self._stream.cancel()
        self._end("abort")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._metrics.finished(reason)
