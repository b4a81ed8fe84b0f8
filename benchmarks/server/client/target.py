"""A server under test: its address, and the form of its requests."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from benchmarks.server.client.prompts import FIRST_TOKEN, Prompt
from benchmarks.server.client.words import text
from benchmarks.server.failures import BenchError


class Dialect(StrEnum):
    """Dialects of OpenAI's completions API.

    Members:
        VLLM: token ids as prompts, and `ignore_eos`; this project's server, vLLM, SGLang.
        OPENAI: token ids as prompts; an answer may end before its length.
        TRANSFORMERS: `transformers serve`: only texts as prompts; usage is always sent.
    """

    VLLM = "vllm"
    OPENAI = "openai"
    TRANSFORMERS = "transformers"


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes:
        host: host of its address.
        port: port of its address.
        model: the `model` field of requests.
        dialect: its API dialect.
        path: path prefix before /v1.
        headers: additional headers of each request.
        extra: additional fields of each request, which override those of the dialect.
    """

    host: str
    port: int
    model: str = ""
    dialect: Dialect = Dialect.VLLM
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def completion(self, prompt: Prompt) -> bytes:
        """Return a complete HTTP request for a streamed completion."""
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": list(prompt.tokens),
            "max_tokens": prompt.max_tokens,
            "stream": True,
        }
        match self.dialect:
            case Dialect.TRANSFORMERS:
                body["prompt"] = text(token - FIRST_TOKEN for token in prompt.tokens)
            case Dialect.OPENAI:
                body["stream_options"] = {"include_usage": True}
            case Dialect.VLLM:
                body |= {"stream_options": {"include_usage": True}, "ignore_eos": True}
        content = json.dumps(body | self.extra, separators=(",", ":")).encode()
        return self._head("POST", "/v1/completions", len(content)) + content

    def get(self, path: str) -> bytes:
        """Return a complete HTTP GET request."""
        return self._head("GET", path, 0)

    def _head(self, method: str, path: str, length: int) -> bytes:
        lines = [
            f"{method} {self.path}{path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Accept: */*",
            f"Content-Length: {length}",
            *([] if method == "GET" else ["Content-Type: application/json"]),
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join((*lines, "", "")).encode()


def at(url: str, **more: Any) -> Target:
    """Return the server at a URL.

    Args:
        url: a URL such as http://host:port, with or without /v1.
        more: other fields of Target.

    Raises:
        BenchError: the URL has another form.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BenchError(f"{url!r} is not an HTTP URL: write one such as http://127.0.0.1:8000")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Target(host=parts.hostname, port=parts.port or 80, path=path, **more)
