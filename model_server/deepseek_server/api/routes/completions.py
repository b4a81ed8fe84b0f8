"""POST /v1/completions."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from deepseek_server.api.errors import invalid
from deepseek_server.api.generation import Generation, Prompt, check_model, served_model
from deepseek_server.api.logprobs import CompletionLogprobs
from deepseek_server.api.sampling import check_grammar, sampling
from deepseek_server.api.schemas import CompletionRequest
from deepseek_server.api.sse import EventStream
from deepseek_server.engine.types import Output
from deepseek_server.server.served_model import ServedModel

router = APIRouter()

# The default of OpenAI's API.
DEFAULT_MAX_TOKENS = 16


@router.post("/v1/completions")
async def create(
    body: CompletionRequest,
    request: Request,
    served: Annotated[ServedModel, Depends(served_model)],
) -> Response:
    """Complete texts or lists of token ids."""
    check_model(body.model, served)
    prompts = [await _prompt(body, prompt, served) for prompt in body.prompt]
    await check_grammar(body.grammar(), served, "response_format")
    generation = Generation(prompts, body.n, "cmpl", served, request.app.state.metrics)
    choices = [_Choice(index, body, generation, served) for index in generation.indices()]
    created = int(time.time())
    if body.stream:
        return EventStream(_chunks(body, generation, choices, created), generation.release)
    await generation.whole(request, lambda index, output: choices[index].take(output))
    return JSONResponse(
        {
            "id": generation.id,
            "object": "text_completion",
            "created": created,
            "model": generation.model,
            "choices": [choice.whole() for choice in choices],
            "usage": generation.usage.json(),
        }
    )


async def _prompt(body: CompletionRequest, prompt: str | list[int], served: ServedModel) -> Prompt:
    if isinstance(prompt, str):
        try:
            token_ids = await asyncio.to_thread(served.codec.encode, prompt)
        except ValueError as error:
            raise invalid(f"prompt: {error}", param="prompt", code="invalid_value") from error
    else:
        token_ids = prompt
    how = sampling(
        body,
        token_ids,
        DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        served,
        prompt_param="prompt",
        logprobs=body.logprobs,
        grammar=body.grammar(),
    )
    return Prompt(tuple(token_ids), how)


class _Choice:
    """One choice, streamed or whole."""

    def __init__(
        self, index: int, body: CompletionRequest, generation: Generation, served: ServedModel
    ) -> None:
        self._index, self._body = index, body
        self._prompt = generation.prompt_of(index).token_ids
        self._texts = [self._echo(served)] if body.echo else []
        self._token_ids: list[int] = []
        self._reason: str | None = None
        self._logprobs = None if body.logprobs is None else CompletionLogprobs(served.codec)
        self._all_logprobs: dict[str, list[Any]] | None = None

    def _echo(self, served: ServedModel) -> str:
        given = self._body.prompt[self._index // self._body.n]
        return given if isinstance(given, str) else served.codec.decode(given)

    def chunk(self, output: Output) -> dict[str, Any] | None:
        """Return the stream chunk of an output; None if it adds nothing."""
        text = "".join([*self._texts, output.text])
        self._texts = []
        has_details = self._logprobs is not None or self._body.return_token_ids
        if not text and output.finish_reason is None and not has_details:
            return None
        chunk = {
            "index": self._index,
            "text": text,
            "logprobs": None if self._logprobs is None else self._logprobs.push(output),
            "finish_reason": output.finish_reason,
        }
        if self._body.return_token_ids:
            chunk["token_ids"] = output.token_ids
        return chunk

    def take(self, output: Output) -> None:
        """Collect an output for `whole`."""
        self._texts.append(output.text)
        self._token_ids += output.token_ids
        self._reason = output.finish_reason
        if self._logprobs is not None:
            lists = self._logprobs.push(output)
            before = self._all_logprobs or {}
            self._all_logprobs = {
                name: before.get(name, []) + values for name, values in lists.items()
            }

    def whole(self) -> dict[str, Any]:
        """Return the complete choice."""
        choice = {
            "index": self._index,
            "text": "".join(self._texts),
            "logprobs": self._all_logprobs,
            "finish_reason": self._reason,
        }
        if self._body.return_token_ids:
            choice |= {"token_ids": self._token_ids, "prompt_token_ids": self._prompt}
        return choice


async def _chunks(
    body: CompletionRequest, generation: Generation, choices: list[_Choice], created: int
) -> AsyncIterator[dict[str, Any]]:
    """Yield the chunks of all choices, then the token usage if requested."""
    head = {
        "id": generation.id,
        "object": "text_completion",
        "created": created,
        "model": generation.model,
    }
    tail = {"usage": None} if body.include_usage else {}
    async for index, output in generation.outputs():
        chunk = choices[index].chunk(output)
        if chunk is not None:
            yield {**head, "choices": [chunk], **tail}
    if body.include_usage:
        yield {**head, "choices": [], "usage": generation.usage.json()}
