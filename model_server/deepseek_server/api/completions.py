"""POST /v1/completions."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from deepseek_server.api.errors import invalid
from deepseek_server.api.generation import Generation, check_model, served_model
from deepseek_server.api.schemas import CompletionRequest
from deepseek_server.api.sse import EventStream
from deepseek_server.serving import ServedModel

router = APIRouter()

# What OpenAI's API generates where the request does not say.
DEFAULT_MAX_TOKENS = 16


@router.post("/v1/completions")
async def create(
    body: CompletionRequest,
    request: Request,
    served: Annotated[ServedModel, Depends(served_model)],
) -> Response:
    """Continue a text or a list of tokens."""
    check_model(body.model, served)
    generation = Generation(
        body,
        await _prompt(body, served),
        DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        prompt_param="prompt",
        kind="cmpl",
        served=served,
        metrics=request.app.state.metrics,
    )
    created = int(time.time())
    if body.stream:
        return EventStream(_chunks(body, generation, created), generation.release)
    answer = await generation.whole(request)
    choice: dict[str, Any] = {
        "index": 0,
        "text": answer.text,
        "logprobs": None,
        "finish_reason": answer.finish_reason,
    }
    if body.return_token_ids:
        choice |= {"token_ids": answer.token_ids, "prompt_token_ids": generation.prompt}
    return JSONResponse(
        {
            "id": generation.id,
            "object": "text_completion",
            "created": created,
            "model": generation.model,
            "choices": [choice],
            "usage": generation.usage,
        }
    )


async def _prompt(body: CompletionRequest, served: ServedModel) -> list[int]:
    if not isinstance(body.prompt, str):
        return body.prompt
    try:
        return await asyncio.to_thread(served.codec.encode, body.prompt)
    except ValueError as error:
        raise invalid(f"prompt: {error}", param="prompt", code="invalid_value") from error


async def _chunks(
    body: CompletionRequest, generation: Generation, created: int
) -> AsyncIterator[dict[str, Any]]:
    """The text as it grows; the last piece says why it ended; the token counts if wanted."""

    def chunk(choices: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
        return {
            "id": generation.id,
            "object": "text_completion",
            "created": created,
            "model": generation.model,
            "choices": choices,
            **({"usage": usage} if body.include_usage else {}),
        }

    async for output in generation.outputs():
        if output.text or output.finish_reason or body.return_token_ids:
            piece: dict[str, Any] = {
                "index": 0,
                "text": output.text,
                "logprobs": None,
                "finish_reason": output.finish_reason,
            }
            if body.return_token_ids:
                piece["token_ids"] = output.token_ids
            yield chunk([piece], None)
    if body.include_usage:
        yield chunk([], generation.usage)
