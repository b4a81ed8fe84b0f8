"""OpenTelemetry tracing: a span for every request, if a collector is configured.

The span is created when the request has ended, from the times in its record, so that tracing adds no
work before. Attribute names follow the semantic conventions for generative AI
(open-telemetry/semantic-conventions-genai) and for HTTP. `key` and `queue_seconds`, for which they
have no name, have the prefix of this server.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from deepseek_server.errors import PermanentError
from deepseek_server.server.request_record import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

CLOSING_SECONDS = 2
SERVICE = "deepseek-server"
OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}


class Tracer(Protocol):
    """A writer of spans."""

    def ended(self, record: Record, headers: Mapping[str, str], seconds: float) -> None:
        """Write the span of a request.

        Args:
            record: the request, which has ended.
            headers: the request's headers; `traceparent` names the parent span.
            seconds: its duration.
        """

    def close(self) -> None:
        """Send pending spans."""


def tracer(endpoint: str, model: str) -> "Spans":
    """Return a tracer that sends to an OTLP collector.

    Args:
        endpoint: the collector's URL; without a path, the protocol's `/v1/traces` is used.
        model: the name of the served model.

    Raises:
        PermanentError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise PermanentError(
            f"tracing.endpoint is set, but {error.name} is not installed: "
            "install deepseek-operator[tracing], or remove tracing from the configuration file"
        ) from error
    address = endpoint.rstrip("/")
    if address.count("/") == 2:  # a scheme and a host
        address += "/v1/traces"
    return Spans(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)), model)


class Spans:
    """A tracer that uses OpenTelemetry.

    Args:
        processor: receives the spans.
        model: the name of the served model.
    """

    def __init__(self, processor: "SpanProcessor", model: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(__name__)
        self._model = model

    def ended(self, record: Record, headers: Mapping[str, str], seconds: float) -> None:
        """Write the span of a request; see Tracer.ended."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        operation = OPERATIONS.get(record.route)
        span = self._tracer.start_span(
            f"{operation} {self._model}" if operation else f"{record.method} {record.route}",
            context=TraceContextTextMapPropagator().extract(headers),
            kind=SpanKind.SERVER,
            attributes=_http(record)
            | (_generative(record, operation, self._model) if operation else {}),
            start_time=record.began_ns,
        )
        if record.status >= 500 or "error" in record.finish_reasons:
            span.set_status(Status(StatusCode.ERROR))
        span.end(record.began_ns + int(seconds * 1e9))

    def close(self) -> None:
        """Send pending spans; wait only briefly for a collector that does not respond."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSING_SECONDS)


def _http(record: Record) -> dict[str, Any]:
    attributes = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "deepseek_server.request_id": record.id,
    }
    if record.key:
        attributes["deepseek_server.key"] = record.key
    if record.error or record.status >= 500:
        attributes["error.type"] = record.error or str(record.status)
    return attributes


def _generative(record: Record, operation: str | None, model: str) -> dict[str, Any]:
    if operation is None:
        return {}
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "deepseek",
        "gen_ai.request.model": model,
    }
    if not record.answers:
        return attributes
    sampling = record.answers[0].request.sampling
    optional = {
        "gen_ai.response.time_to_first_chunk": record.first_token_seconds,
        "deepseek_server.queue_seconds": record.queue_seconds,
        "gen_ai.request.seed": sampling.seed,
    }
    return attributes | {
        "gen_ai.response.model": model,
        "gen_ai.response.id": record.answers[0].response_id,
        "gen_ai.response.finish_reasons": record.finish_reasons,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.output_tokens": record.generated_tokens,
        **{name: value for name, value in optional.items() if value is not None},
    }
