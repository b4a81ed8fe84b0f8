"""Stand-ins for model servers, at the loopback addresses that their pods report."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import generate_latest

from deepseek_operator.plan.desired.desired_state import PORT
from deepseek_server.metrics import Metrics


class ModelServer:
    """Answers the operator's requests to a pod: real server metrics, and completions.

    Args:
        address: Address in 127.0.0.0/8 on which nothing else may listen.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self._metrics = Metrics("m")
        self._http = ThreadingHTTPServer((address, PORT), _handler(self))
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answered(self, number: int, errors: int = 0, seconds: float = 0.2) -> None:
        """Count client requests.

        Args:
            number: Number of requests.
            errors: How many of them failed.
            seconds: Time to first token of the others.
        """
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
        """Stop the server."""
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
