"""A server under test: where it is, and in which words it is asked."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from benchmarks.server.client.prompts import FIRST_TOKEN, Prompt
from benchmarks.server.client.words import text
from benchmarks.server.failures import BenchError


class Dialect(StrEnum):
    """What a server understands beside OpenAI's completions.

    Members:
        VLLM: token ids as prompts, and `ignore_eos`; this project's server, vLLM, SGLang.
        OPENAI: token ids as prompts; an answer may end before its length.
        TRANSFORMERS: `transformers serve`: texts as prompts only; usage comes unasked.
    """

    VLLM = "vllm"
    OPENAI = "openai"
    TRANSFORMERS = "transformers"


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes:
        host: of its address.
        port: of its address.
        model: what requests put into `model`.
        dialect: what it understands.
        path: what comes before /v1.
        headers: more headers for each request.
        extra: more fields for each request, over those that the dialect has.
    """

    host: str
    port: int
    model: str = ""
    dialect: Dialect = Dialect.VLLM
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def completion(self, prompt: Prompt) -> bytes:
        """A whole HTTP request for a streamed completion."""
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
        """A whole HTTP request for a page."""
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
    """The server at a URL.

    Args:
        url: as http://host:port, with or without /v1.
        more: other fields of Target.

    Raises:
        BenchError: it is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BenchError(f"{url!r} cannot be measured: give a URL like http://127.0.0.1:8000")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Target(host=parts.hostname, port=parts.port or 80, path=path, **more)
