"""Sampling parameters of a validated request, and the checks that need the model."""

import asyncio
import json
from collections.abc import Iterable, Sequence

from deepseek_server.api.errors import invalid
from deepseek_server.api.schemas import SEED_MIN, GenerationRequest
from deepseek_server.engine.types import Sampling
from deepseek_server.server.served_model import ServedModel


def sampling(
    request: GenerationRequest,
    prompt: Sequence[int],
    max_tokens: int | None,
    served: ServedModel,
    *,
    prompt_param: str,
    logprobs: int | None,
    grammar: str = "",
    stop: Iterable[str] = (),
) -> Sampling:
    """Return the sampling parameters for a prompt.

    Args:
        request: what the client sent.
        prompt: the prompt's tokens.
        max_tokens: maximum number of tokens to generate; None: all that the context leaves.
        served: the model.
        prompt_param: the request field with the prompt, for error messages.
        logprobs: as in Sampling.
        grammar: as in Sampling.
        stop: stop strings in addition to those of the request.

    Raises:
        APIError: 400 if the prompt is too long or a token id is out of range.
    """
    check_tokens(prompt, served, prompt_param)
    room = _room(prompt, max_tokens, served, prompt_param)
    biases = tuple((int(token), bias) for token, bias in request.logit_bias.items())
    check_tokens([token for token, _ in biases], served, "logit_bias")
    check_tokens(request.stop_token_ids, served, "stop_token_ids")
    limit = room if max_tokens is None else max_tokens
    if request.min_tokens > limit:
        raise invalid(
            f"min_tokens must not exceed the limit of {limit} generated tokens: "
            f"got {request.min_tokens}",
            param="min_tokens",
            code="invalid_value",
        )
    return Sampling(
        max_tokens=limit,
        temperature=_given(request.temperature, served.defaults.temperature),
        top_p=_given(request.top_p, served.defaults.top_p),
        top_k=max(request.top_k, 0),
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=biases,
        seed=request.seed,
        stop=(*request.stop, *stop),
        stop_token_ids=tuple(request.stop_token_ids),
        min_tokens=request.min_tokens,
        ignore_eos=request.ignore_eos,
        logprobs=logprobs,
        grammar=grammar,
    )


def nth_seed(seed: int | None, place: int) -> int | None:
    """Return the seed of one of n choices; seeds wrap around after the largest one."""
    return None if seed is None else (seed + place - SEED_MIN) % 2**64 + SEED_MIN


async def check_grammar(grammar: str, served: ServedModel, param: str) -> None:
    """Raise a 400 unless the engine can compile a grammar.

    Args:
        grammar: as in Sampling.
        served: the model.
        param: the request field to report if the kind of grammar does not imply one.
    """
    if not grammar:
        return
    problem = await asyncio.to_thread(served.check_grammar, grammar)
    if problem is not None:
        kind = next(iter(json.loads(grammar)))
        field = {"regex": "guided_regex", "choice": "guided_choice"}.get(kind, param)
        raise invalid(f"{field}: {problem}", param=field, code="invalid_value")


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def check_tokens(tokens: Sequence[int], served: ServedModel, param: str) -> None:
    """Raise a 400 if a token id is out of range."""
    unknown = next((token for token in tokens if not 0 <= token < served.vocabulary), None)
    if unknown is not None:
        raise invalid(
            f"{unknown} is not a token id of this model: use 0 to {served.vocabulary - 1}",
            param=param,
            code="invalid_token",
        )


def _room(prompt: Sequence[int], max_tokens: int | None, served: ServedModel, param: str) -> int:
    """Return how many tokens can be generated after a prompt."""
    if not prompt:
        raise invalid("the prompt has no tokens", param=param, code="empty_prompt")
    limit = served.engine.limits.context
    wanted = 1 if max_tokens is None else max_tokens
    if len(prompt) + wanted > limit:
        asked = "" if max_tokens is None else f" and max_tokens is {max_tokens}"
        raise invalid(
            f"the prompt has {len(prompt)} tokens{asked}, but the context length of {served.name} "
            f"is {limit} tokens, prompt and completion together: shorten the prompt or lower "
            "max_tokens",
            param=param,
            code="context_length_exceeded",
        )
    return limit - len(prompt)
