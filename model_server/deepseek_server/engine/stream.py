"""The way of outputs from an engine's thread to the event loop of the reader.

Waking an event loop costs more than handing over an output, so an engine collects what a step
produced for all requests and hands it over at once.
"""

import asyncio
from collections import defaultdict
from typing import Self

from deepseek_server.engine.interface import EngineError, Output


class Stream:
    """The outputs of one request, read on the event loop on which it was made.

    Attributes:
        cancelled: whether nobody wants the rest.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.loop = asyncio.get_running_loop()
        self._outputs: asyncio.Queue[Output | EngineError] = asyncio.Queue()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        if self._ended:
            raise StopAsyncIteration
        output = await self._outputs.get()
        if isinstance(output, EngineError):
            self._ended = True
            raise output
        self._ended = output.finish_reason is not None
        return output

    def cancel(self) -> None:
        """Stop generating; the engine looks at this between two steps."""
        self.cancelled = True

    def put(self, output: Output | EngineError) -> None:
        """Hand something to the reader; on the event loop only."""
        self._outputs.put_nowait(output)


class Mail:
    """Outputs for several streams on their way to the event loop."""

    def __init__(self) -> None:
        self._letters: dict[asyncio.AbstractEventLoop, list[tuple[Stream, Output | EngineError]]]
        self._letters = defaultdict(list)

    def add(self, stream: Stream, output: Output | EngineError) -> None:
        """Put one more into the bag."""
        self._letters[stream.loop].append((stream, output))

    def send(self) -> None:
        """Hand everything over, from any thread, with one wake-up per event loop."""
        for loop, letters in self._letters.items():
            try:
                loop.call_soon_threadsafe(_deliver, letters)
            except RuntimeError:  # the readers' event loop is closed
                for stream, _ in letters:
                    stream.cancel()
        self._letters.clear()


def _deliver(letters: list[tuple[Stream, Output | EngineError]]) -> None:
    for stream, output in letters:
        stream.put(output)
