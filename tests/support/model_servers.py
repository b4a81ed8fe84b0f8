"""Stand-ins for model servers at addresses of their own on this machine, where pods say they are."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import generate_latest

from deepseek_operator.plan.desired.desired_state import PORT
from deepseek_server.metrics import Metrics


class ModelServer:
    """Answers what the operator asks of a pod: /metrics as the real server makes them, and requests.

    Args:
        address: Of 127.0.0.0/8; nothing else may listen there.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self._metrics = Metrics("m")
        self._http = ThreadingHTTPServer((address, PORT), _handler(self))
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answered(self, number: int, errors: int = 0, seconds: float = 0.2) -> None:
        """Count requests of clients: so many, some of which failed, each with its first token after."""
        for place in range(number):
            failed = place < errors
            self._metrics.answered("/v1/chat/completions", "POST", 500 if failed else 200)
            if not failed:
                self._metrics.first_token.observe(seconds)
                self._metrics.between_tokens.observe(seconds / 10)

    @property
    def text(self) -> bytes:
        """Its metrics."""
        return generate_latest(self._metrics.registry)

    def close(self) -> None:
        """End it."""
        self._http.shutdown()
        self._http.server_close()


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, server.text)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            server.asked.append(json.loads(self.rfile.read(length)))
            self._answer(server.status, json.dumps({"choices": [{"text": "hi"}]}).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
