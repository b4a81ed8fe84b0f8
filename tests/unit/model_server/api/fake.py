"""A served model with a real tokenizer and a scripted engine."""

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from deepseek_server.engine.types import Limits, Load, Output, QueueFullError, Request, Totals
from deepseek_server.models.tokenizer import TokenizerCodec
from hack.models.tiny import make_tokenizer

MARKERS = (
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁sep｜>"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "｜DSML｜"),
)
THINKING = ("<think>", "</think>")


def make_codec(directory: Path, template: str | None) -> TokenizerCodec:
    """The tiny models' tokenizer with the markers of DeepSeek's; some are special, some are not."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKERS)})
    tokenizer.add_tokens(list(THINKING))
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    return TokenizerCodec(directory)


def pieces(text: str, size: int = 3, reason: str = "stop") -> list[Output]:
    """Return the outputs of a text, of a number of characters each."""
    cut = [text[i : i + size] for i in range(0, len(text), size)] or [""]
    outputs = [Output((7,), piece) for piece in cut[:-1]]
    return [*outputs, Output((7,), cut[-1], finish_reason=reason)]  # type: ignore[arg-type]


class FakeStream:
    """A stream of scripted outputs that yields to the event loop between two."""

    def __init__(self, outputs: Sequence[Output | Exception]) -> None:
        self._outputs = deque(outputs)
        self.cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        await asyncio.sleep(0)
        if not self._outputs:
            raise StopAsyncIteration
        output = self._outputs.popleft()
        if isinstance(output, Exception):
            raise output
        return output

    def cancel(self) -> None:
        self.cancelled = True


class FakeEngine:
    """An engine that plays the next script for each request, by default "ok"."""

    def __init__(self, waiting: int = 1000) -> None:
        self.limits = Limits(context=4096, waiting=waiting)
        self.load, self.totals, self.alive = Load(0, 0), Totals(), True
        self.requests: list[Request] = []
        self.streams: list[FakeStream] = []
        self.scripts: deque[Sequence[Output | Exception]] = deque()

    def submit(self, request: Request) -> FakeStream:
        if len(self.streams) >= self.limits.waiting:
            raise QueueFullError(f"{len(self.streams)} requests are already waiting")
        self.requests.append(request)
        self.streams.append(FakeStream(self.scripts.popleft() if self.scripts else pieces("ok")))
        return self.streams[-1]

    async def close(self) -> None:
        self.alive = False
