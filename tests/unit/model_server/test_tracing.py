"""Spans in memory and at a collector."""

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from deepseek_server.api.middleware import Rules
from deepseek_server.engine.types import EngineError
from deepseek_server.errors import PermanentError
from deepseek_server.server.api_keys import Keyring
from deepseek_server.server.request_record import Record
from deepseek_server.tracing import Spans, tracer
from tests.support.model_server.scripted import HELLO, Script, Service
from tests.unit.model_server.server.test_api_keys import entry, write

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced(Service):
    """An application whose spans stay in memory."""

    def __init__(self, script: Script = HELLO, keyring: Keyring | None = None) -> None:
        self.memory = InMemorySpanExporter()
        spans = Spans(SimpleSpanProcessor(self.memory), "scripted")
        super().__init__(script, asked=Rules(keyring=keyring, tracer=spans))

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.memory.get_finished_spans()
        return span


async def test_a_span_follows_the_semantic_conventions(tmp_path: Path) -> None:
    service = Traced(keyring=Keyring(write(tmp_path / "keys.json", entry("team-a", "sk-a"))))
    headers = {
        "X-Request-Id": "abc-1",
        "Authorization": "Bearer sk-a",
        "traceparent": PARENT,
    }
    answer = await service.complete(headers, seed=7, temperature=0.5, max_tokens=9)
    span = service.span
    assert span.name == "text_completion scripted"
    assert span.kind is SpanKind.SERVER
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    attributes = dict(span.attributes or {})
    seconds = attributes.pop("gen_ai.response.time_to_first_chunk")
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 < seconds <= (span.end_time - span.start_time) / 1e9
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/completions",
        "http.response.status_code": 200,
        "deepseek_server.request_id": "abc-1",
        "deepseek_server.key": "team-a",
        "deepseek_server.queue_seconds": 0.25,
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "deepseek",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.response.model": "scripted",
        "gen_ai.response.id": answer.json()["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
    }


async def test_chat_without_a_parent_span() -> None:
    service = Traced()
    body = {"model": "scripted", "messages": [{"role": "user", "content": "a"}], "stream": True}
    for broken in ("", "nonsense"):
        service.memory.clear()
        headers = {"traceparent": broken}
        await service.client.post("/v1/chat/completions", json=body, headers=headers)
        assert service.span.name == "chat scripted"
        assert service.span.parent is None


async def test_a_failure_is_an_error_in_the_span() -> None:
    service = Traced([EngineError("it broke")])
    await service.complete()
    assert service.span.status.status_code is StatusCode.ERROR
    assert (service.span.attributes or {})["error.type"] == "generation_failed"


async def test_a_client_error_is_not_an_error_of_the_span() -> None:
    service = Traced()
    await service.complete(model="other")
    assert service.span.status.status_code is StatusCode.UNSET
    attributes = dict(service.span.attributes or {})
    assert attributes["error.type"] == "model_not_found"
    assert "gen_ai.usage.input_tokens" not in attributes


async def test_other_routes_have_a_plain_span_and_probes_none() -> None:
    service = Traced()
    await service.client.get("/health/ready")
    await service.client.get("/v1/models")
    assert service.span.name == "GET /v1/models"


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/own/path"])
def test_a_collector_gets_the_spans_before_the_process_ends(path: str) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            received.append((self.path, self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        spans = tracer(f"http://127.0.0.1:{server.server_port}{path}", "m")
        spans.ended(_record(), {}, 0.5)
        spans.close()
        server.shutdown()
    ((where, body),) = received
    assert where == (path if len(path) > 1 else "/v1/traces")
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert span.end_time_unix_nano - span.start_time_unix_nano == 500_000_000
    names = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert names["service.name"] == "deepseek-server"


def _record() -> Record:
    return Record(id="a", method="POST", route="/v1/completions", status=200)


def test_an_unreachable_collector_does_not_delay_the_end(monkeypatch) -> None:
    monkeypatch.setattr("deepseek_server.tracing.CLOSING_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        spans = tracer(f"http://127.0.0.1:{silent.getsockname()[1]}", "m")
        spans.ended(_record(), {}, 0.5)
        began = time.monotonic()
        spans.close()
        assert time.monotonic() - began < 9  # it gives up after 10


def test_missing_packages_give_an_error_with_a_remedy(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(PermanentError, match=r"install deepseek-operator\[tracing\]") as failure:
        tracer("http://127.0.0.1:4318", "m")
    assert "tracing.endpoint is set" in str(failure.value)
