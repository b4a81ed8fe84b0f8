"""POST /v1/chat/completions."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from deepseek_server.api.chat_parser import ChatAnswer, Delta, joined
from deepseek_server.api.chat_prompt import plan
from deepseek_server.api.generation import Generation, Prompt, check_model, served_model
from deepseek_server.api.logprobs import chat_logprobs
from deepseek_server.api.sampling import sampling
from deepseek_server.api.schemas import ChatRequest
from deepseek_server.api.sse import EventStream
from deepseek_server.engine.types import Output
from deepseek_server.server.served_model import Codec, ServedModel

router = APIRouter()


@router.post("/v1/chat/completions")
async def create(
    body: ChatRequest, request: Request, served: Annotated[ServedModel, Depends(served_model)]
) -> Response:
    """Answer a conversation."""
    check_model(body.model, served)
    planned = await plan(body, served)
    how = sampling(
        body,
        planned.prompt,
        body.limit,
        served,
        prompt_param="messages",
        logprobs=body.alternatives,
        grammar=planned.grammar,
        stop=planned.stop,
    )
    generation = Generation(
        [Prompt(tuple(planned.prompt), how)], body.n, "chatcmpl", served, request.app.state.metrics
    )
    choices = [_Choice(i, body, planned.answer(), served.codec) for i in generation.indices()]
    created = int(time.time())
    if body.stream:
        return EventStream(_chunks(body, generation, choices, created), generation.release)
    await generation.whole(request, lambda index, output: choices[index].take(output))
    _count_reasoning(generation, choices)
    return JSONResponse(
        {
            "id": generation.id,
            "object": "chat.completion",
            "created": created,
            "model": generation.model,
            "choices": [choice.whole() for choice in choices],
            "usage": generation.usage.json(),
            **({"prompt_token_ids": planned.prompt} if body.return_token_ids else {}),
        }
    )


class _Choice:
    """One choice, streamed or whole."""

    def __init__(self, index: int, body: ChatRequest, answer: ChatAnswer, codec: Codec) -> None:
        self._index, self._body, self._codec = index, body, codec
        self.answer = answer
        self._deltas: list[Delta] = []
        self._logprobs: list[dict[str, Any]] = []
        self._token_ids: list[int] = []
        self._reason: str | None = None

    def first(self) -> dict[str, Any]:
        """Return the first chunk of a stream."""
        return self._json({"role": "assistant", "content": ""})

    def chunk(self, output: Output) -> dict[str, Any] | None:
        """Return the stream chunk of an output; None if it adds nothing."""
        delta = self.answer.push(output).json()
        has_details = self._body.logprobs or self._body.return_token_ids
        if not delta and output.finish_reason is None and not has_details:
            return None
        chunk = self._json(delta, self.answer.reason(output))
        if self._body.logprobs:
            chunk["logprobs"] = {"content": chat_logprobs(output, self._codec), "refusal": None}
        if self._body.return_token_ids:
            chunk["token_ids"] = output.token_ids
        return chunk

    def take(self, output: Output) -> None:
        """Collect an output for `whole`."""
        self._deltas.append(self.answer.push(output))
        self._token_ids += output.token_ids
        self._reason = self.answer.reason(output)
        if self._body.logprobs:
            self._logprobs += chat_logprobs(output, self._codec)

    def whole(self) -> dict[str, Any]:
        """Return the complete choice."""
        logprobs = {"content": self._logprobs, "refusal": None} if self._body.logprobs else None
        choice = {
            "index": self._index,
            "message": joined(self._deltas),
            "logprobs": logprobs,
            "finish_reason": self._reason,
        }
        if self._body.return_token_ids:
            choice["token_ids"] = self._token_ids
        return choice

    def _json(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"index": self._index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _count_reasoning(generation: Generation, choices: list[_Choice]) -> None:
    generation.usage.reasoning = sum(choice.answer.reasoning_tokens for choice in choices)


async def _chunks(
    body: ChatRequest, generation: Generation, choices: list[_Choice], created: int
) -> AsyncIterator[dict[str, Any]]:
    """Yield the roles, the chunks of all choices, then the token usage if requested."""
    head = {
        "id": generation.id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": generation.model,
    }
    tail = {"usage": None} if body.include_usage else {}
    for choice in choices:
        yield {**head, "choices": [choice.first()], **tail}
    async for index, output in generation.outputs():
        chunk = choices[index].chunk(output)
        if chunk is not None:
            yield {**head, "choices": [chunk], **tail}
    if body.include_usage:
        _count_reasoning(generation, choices)
        yield {**head, "choices": [], "usage": generation.usage.json()}
