"""Generation of the choices of a request, shared by chat and completions."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from fastapi import Request as HTTPRequest

from deepseek_server.api.errors import APIError
from deepseek_server.api.sampling import nth_seed
from deepseek_server.api.usage import Usage
from deepseek_server.engine.types import (
    EngineClosedError,
    EngineError,
    EngineGoneError,
    Output,
    QueueFullError,
    Request,
    Sampling,
)
from deepseek_server.metrics import MeasuredStream, Metrics
from deepseek_server.server.lifecycle import Lifecycle
from deepseek_server.server.served_model import ServedModel

RETRY_AFTER_LOADING_SECONDS = 5


async def served_model(request: HTTPRequest) -> ServedModel:
    """Return the served model; a dependency of routes.

    Raises:
        APIError: 503 while the model is not ready.
    """
    lifecycle: Lifecycle = request.app.state.lifecycle
    if lifecycle.served is None:
        raise APIError(
            503,
            f"the model is not ready: {lifecycle.detail()}",
            code="model_not_ready",
            retry_after=RETRY_AFTER_LOADING_SECONDS,
        )
    return lifecycle.served


def check_model(name: str, served: ServedModel) -> None:
    """Raise a 404 unless the request names the served model."""
    if name != served.name:
        raise APIError(
            404,
            f"the model {name!r} does not exist: this server serves {served.name!r}",
            code="model_not_found",
            param="model",
        )


@dataclass(frozen=True)
class Prompt:
    """A prompt and its sampling parameters."""

    token_ids: tuple[int, ...]
    sampling: Sampling


class Generation:
    """The choices of some prompts: n for each, numbered consecutively.

    Args:
        prompts: the prompts to complete.
        n: choices per prompt.
        kind: the prefix of the id.
        served: the model.
        metrics: counts the tokens.

    Attributes:
        id: the id in the response.
        usage: token usage so far.

    Raises:
        APIError: 429 if the queue is full, 503 if the engine has shut down.
    """

    def __init__(
        self, prompts: Sequence[Prompt], n: int, kind: str, served: ServedModel, metrics: Metrics
    ) -> None:
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self.model = served.name
        self.prompts = prompts
        self.usage = Usage(sum(len(prompt.token_ids) for prompt in prompts))
        self._n = n
        self._streams: list[MeasuredStream] = []
        self._readers: list[asyncio.Task[None]] = []
        for prompt in prompts:
            for place in range(n):
                seed = nth_seed(prompt.sampling.seed, place)
                request = Request(
                    f"{self.id}-{len(self._streams)}",
                    prompt.token_ids,
                    replace(prompt.sampling, seed=seed),
                )
                self._submit(request, served, metrics)

    def _submit(self, request: Request, served: ServedModel, metrics: Metrics) -> None:
        try:
            stream = served.engine.submit(request)
        except QueueFullError as error:
            self.release()
            raise APIError(
                429,
                f"the server is overloaded ({error}): retry later",
                code="queue_full",
                retry_after=metrics.pace.retry_after(served.engine.load.waiting),
            ) from error
        except EngineClosedError as error:
            self.release()
            raise _closed(error) from error
        self._streams.append(MeasuredStream(stream, request, metrics))

    def prompt_of(self, index: int) -> Prompt:
        """Return the prompt of a choice."""
        return self.prompts[index // self._n]

    def indices(self) -> range:
        """Return the indices of the choices."""
        return range(len(self._streams))

    async def outputs(self) -> AsyncIterator[tuple[int, Output]]:
        """Yield the outputs of all choices as they arrive, each with the index of its choice.

        Raises:
            EngineError: one of them failed.
        """
        if len(self._streams) == 1:
            async for output in self._streams[0]:
                self.usage.add(0, output)
                yield 0, output
            return
        queue: asyncio.Queue[tuple[int, Output | Exception | None]] = asyncio.Queue()
        self._readers = [
            asyncio.ensure_future(_read(index, stream, queue))
            for index, stream in enumerate(self._streams)
        ]
        running = len(self._readers)
        while running:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
                continue
            self.usage.add(index // self._n, item)
            yield index, item

    def release(self) -> None:
        """Cancel whatever is still being generated."""
        for reader in self._readers:
            reader.cancel()
        for stream in self._streams:
            stream.cancel()

    async def whole(self, http_request: HTTPRequest, take: Callable[[int, Output], object]) -> None:
        """Pass all outputs to a callback; cancel them if the client disconnects.

        Raises:
            APIError: the engine failed.
        """
        answers = asyncio.ensure_future(self._collect(take))
        gone = asyncio.ensure_future(_disconnected(http_request))
        try:
            await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                # No client reads this; proxies log 499 for a client that disconnected.
                raise APIError(499, "the client closed the connection", code="client_gone")
            answers.result()
        except EngineClosedError as error:
            raise _closed(error) from error
        except EngineError as error:
            raise APIError(500, str(error), code="generation_failed") from error
        finally:
            answers.cancel()
            gone.cancel()
            self.release()

    async def _collect(self, take: Callable[[int, Output], object]) -> None:
        async for index, output in self.outputs():
            take(index, output)


async def _read(
    index: int,
    stream: MeasuredStream,
    queue: asyncio.Queue[tuple[int, Output | Exception | None]],
) -> None:
    """Put a stream's outputs into a queue, then its error or None."""
    try:
        async for output in stream:
            queue.put_nowait((index, output))
    except Exception as error:
        queue.put_nowait((index, error))
    else:
        queue.put_nowait((index, None))


def _closed(error: EngineClosedError) -> APIError:
    code = "engine_gone" if isinstance(error, EngineGoneError) else "shutting_down"
    return APIError(503, str(error), code=code, retry_after=RETRY_AFTER_LOADING_SECONDS)


async def _disconnected(request: HTTPRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
