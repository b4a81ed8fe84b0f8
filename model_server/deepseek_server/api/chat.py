"""POST /v1/chat/completions."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from deepseek_server.api.errors import invalid
from deepseek_server.api.generation import Generation, check_model, served_model
from deepseek_server.api.schemas import ChatRequest
from deepseek_server.api.sse import EventStream
from deepseek_server.serving import ServedModel

router = APIRouter()


@router.post("/v1/chat/completions")
async def create(
    body: ChatRequest, request: Request, served: Annotated[ServedModel, Depends(served_model)]
) -> Response:
    """Answer a conversation."""
    check_model(body.model, served)
    generation = Generation(
        body,
        await _prompt(body, served),
        body.limit,
        prompt_param="messages",
        kind="chatcmpl",
        served=served,
        metrics=request.app.state.metrics,
    )
    created = int(time.time())
    if body.stream:
        return EventStream(_chunks(body, generation, created), generation.release)
    answer = await generation.whole(request)
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text},
        "logprobs": None,
        "finish_reason": answer.finish_reason,
    }
    if body.return_token_ids:
        choice["token_ids"] = answer.token_ids
    return JSONResponse(
        {
            "id": generation.id,
            "object": "chat.completion",
            "created": created,
            "model": generation.model,
            "choices": [choice],
            "usage": generation.usage,
            **({"prompt_token_ids": generation.prompt} if body.return_token_ids else {}),
        }
    )


async def _prompt(body: ChatRequest, served: ServedModel) -> list[int]:
    if not served.codec.has_chat_template:
        raise invalid(
            f"{served.name} has no chat template: use /v1/completions",
            param="messages",
            code="no_chat_template",
        )
    messages = [message.for_template() for message in body.messages]
    try:
        return await asyncio.to_thread(served.codec.encode_chat, messages)
    except ValueError as error:
        raise invalid(
            f"the model's chat template refuses these messages: {error}",
            param="messages",
            code="invalid_value",
        ) from error


async def _chunks(
    body: ChatRequest, generation: Generation, created: int
) -> AsyncIterator[dict[str, Any]]:
    """The role, the text as it grows, the reason for the end, and the token counts if wanted."""

    def chunk(choices: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
        return {
            "id": generation.id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": generation.model,
            "choices": choices,
            **({"usage": usage} if body.include_usage else {}),
        }

    def choice(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

    yield chunk([choice({"role": "assistant", "content": ""})], None)
    async for output in generation.outputs():
        if output.text or body.return_token_ids:
            piece = choice({"content": output.text})
            if body.return_token_ids:
                piece["token_ids"] = output.token_ids
            yield chunk([piece], None)
        if output.finish_reason is not None:
            yield chunk([choice({}, output.finish_reason)], None)
    if body.include_usage:
        yield chunk([], generation.usage)
