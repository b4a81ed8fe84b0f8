"""POST /tokenize and /detokenize, compatible with vLLM."""

import asyncio
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends
from pydantic import Field, model_validator

from deepseek_server.api.chat_prompt import encode
from deepseek_server.api.errors import invalid
from deepseek_server.api.generation import check_model, served_model
from deepseek_server.api.messages import Message
from deepseek_server.api.sampling import check_tokens
from deepseek_server.api.schemas import Conversation
from deepseek_server.api.strict import Strict, invalid_combination
from deepseek_server.server.served_model import ServedModel

router = APIRouter()

Served = Annotated[ServedModel, Depends(served_model)]


class TokenizeRequest(Conversation):
    """The body of POST /tokenize: text or a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] = Field([])
    add_special_tokens: bool = True
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.prompt is None) == (not self.messages):
            raise invalid_combination("prompt", "set exactly one of prompt and messages")
        return self


class DetokenizeRequest(Strict):
    """The body of POST /detokenize."""

    model: str | None = None
    tokens: list[int]


@router.post("/tokenize")
async def tokenize(body: TokenizeRequest, served: Served) -> dict[str, Any]:
    """Tokenize text, or a conversation up to the start of the assistant's next message."""
    check_model(served.name if body.model is None else body.model, served)
    if body.prompt is None:
        tokens = await encode(body, served)
    else:
        try:
            tokens = await asyncio.to_thread(
                served.codec.encode, body.prompt, bare=not body.add_special_tokens
            )
        except ValueError as error:
            raise invalid(f"prompt: {error}", param="prompt", code="invalid_value") from error
    names = [served.codec.token_bytes(token).decode(errors="replace") for token in tokens]
    return {
        "count": len(tokens),
        "max_model_len": served.engine.limits.context,
        "tokens": tokens,
        "token_strs": names if body.return_token_strs else None,
    }


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, served: Served) -> dict[str, Any]:
    """Return the text of token ids, special tokens included."""
    check_model(served.name if body.model is None else body.model, served)
    check_tokens(body.tokens, served, "tokens")
    return {"prompt": await asyncio.to_thread(served.codec.decode, body.tokens, special=True)}
