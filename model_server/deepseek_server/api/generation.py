"""From a validated request to an answer: what chat and completions share."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fastapi import Request as HTTPRequest

from deepseek_server.api.errors import APIError, invalid
from deepseek_server.api.schemas import GenerationRequest
from deepseek_server.engine.interface import (
    EngineClosedError,
    EngineError,
    Output,
    QueueFullError,
    Request,
    Sampling,
)
from deepseek_server.lifecycle import Lifecycle
from deepseek_server.metrics import MeasuredStream, Metrics
from deepseek_server.serving import ServedModel

RETRY_AFTER_LOADING_SECONDS = 5


async def served_model(request: HTTPRequest) -> ServedModel:
    """The model that the server serves, as a dependency of routes.

    Raises:
        APIError: 503 while there is none.
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
    """Raise a 404 unless the request names the model that is served."""
    if name != served.name:
        raise APIError(
            404,
            f"the model {name!r} does not exist here; this server serves {served.name!r}",
            code="model_not_found",
            param="model",
        )


class Generation:
    """An answer in the making.

    Args:
        request: what the client sent.
        prompt: the prompt's tokens.
        max_tokens: tokens to generate at most; None: as many as the context has room for.
        prompt_param: the request's field that the prompt came from, for error messages.
        kind: the prefix of the answer's id.

    Raises:
        APIError: 400 where the prompt does not fit, 429 where the queue is full.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt: Sequence[int],
        max_tokens: int | None,
        *,
        prompt_param: str,
        kind: str,
        served: ServedModel,
        metrics: Metrics,
    ) -> None:
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self.model = served.name
        self.prompt = tuple(prompt)
        room = _room(self.prompt, max_tokens, served, prompt_param)
        sampling = Sampling(
            max_tokens=room if max_tokens is None else max_tokens,
            temperature=_given(request.temperature, served.defaults.temperature),
            top_p=_given(request.top_p, served.defaults.top_p),
            seed=request.seed,
            stop=tuple(request.stop),
            min_tokens=request.min_tokens,
            ignore_eos=request.ignore_eos,
        )
        if sampling.min_tokens > sampling.max_tokens:
            raise invalid(
                f"min_tokens {sampling.min_tokens} is more than the {sampling.max_tokens} tokens "
                "that may be generated",
                param="min_tokens",
                code="invalid_value",
            )
        submitted = Request(self.id, self.prompt, sampling)
        try:
            stream = served.engine.submit(submitted)
        except QueueFullError as error:
            raise APIError(
                429,
                f"the server is busy ({error}): try again later",
                code="queue_full",
                retry_after=metrics.pace.retry_after(served.engine.load.waiting),
            ) from error
        except EngineClosedError as error:
            raise _closed(error) from error
        self._stream = MeasuredStream(stream, submitted, metrics)
        self._completion_tokens = 0

    @property
    def usage(self) -> dict[str, int]:
        """The tokens so far, in OpenAI's words."""
        return {
            "prompt_tokens": len(self.prompt),
            "completion_tokens": self._completion_tokens,
            "total_tokens": len(self.prompt) + self._completion_tokens,
        }

    async def outputs(self) -> AsyncIterator[Output]:
        """The answer, piece by piece."""
        async for output in self._stream:
            self._completion_tokens += len(output.token_ids)
            yield output

    def release(self) -> None:
        """Stop generating, if that is still going on."""
        self._stream.cancel()

    async def whole(self, http_request: HTTPRequest) -> "Answer":
        """The whole answer; generating stops when the client is gone.

        Raises:
            APIError: the engine failed.
        """
        answer = asyncio.ensure_future(self._collect())
        gone = asyncio.ensure_future(_disconnected(http_request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                # Nobody reads this; it is the status that proxies log for a client that left.
                raise APIError(499, "the client closed the connection", code="client_gone")
            return answer.result()
        except EngineClosedError as error:
            raise _closed(error) from error
        except EngineError as error:
            raise APIError(500, str(error), code="generation_failed") from error
        finally:
            answer.cancel()
            gone.cancel()
            self.release()

    async def _collect(self) -> "Answer":
        texts: list[str] = []
        token_ids: list[int] = []
        reason = ""
        async for output in self.outputs():
            texts.append(output.text)
            token_ids += output.token_ids
            reason = output.finish_reason or reason
        return Answer("".join(texts), token_ids, reason)


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    text: str
    token_ids: list[int]
    finish_reason: str


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _room(prompt: tuple[int, ...], max_tokens: int | None, served: ServedModel, param: str) -> int:
    """Tokens that can be generated after a prompt."""
    if not prompt:
        raise invalid("the prompt has no tokens", param=param, code="empty_prompt")
    unknown = next((token for token in prompt if not 0 <= token < served.vocabulary), None)
    if unknown is not None:
        raise invalid(
            f"{unknown} is not a token of this model, which has 0 to {served.vocabulary - 1}",
            param=param,
            code="invalid_token",
        )
    limit = served.engine.limits.context
    wanted = 1 if max_tokens is None else max_tokens
    if len(prompt) + wanted > limit:
        asked = "" if max_tokens is None else f" and max_tokens is {max_tokens}"
        raise invalid(
            f"the prompt has {len(prompt)} tokens{asked}, but the context of {served.name} is "
            f"{limit} tokens for both: shorten the prompt or lower max_tokens",
            param=param,
            code="context_length_exceeded",
        )
    return limit - len(prompt)


def _closed(error: EngineClosedError) -> APIError:
    return APIError(503, str(error), code="shutting_down", retry_after=RETRY_AFTER_LOADING_SECONDS)


async def _disconnected(request: HTTPRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
