"""What the API expects of an engine, whichever it is.

An engine takes token ids and gives back, token by token, ids and the text that they add. It knows
nothing of HTTP. Everything here is called on the event loop and returns at once.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

from deepseek_server.engine.histogram import NOTHING, Distribution

FinishReason = Literal["stop", "length"]


class EngineError(Exception):
    """A request failed inside the engine; the engine goes on."""


class EngineClosedError(EngineError):
    """The engine was closed before the request was done."""


class EngineGoneError(EngineClosedError):
    """The engine has ended though nobody told it to; this server will not answer any more."""


class QueueFullError(Exception):
    """As many requests wait as may wait."""


@dataclass(frozen=True)
class Limits:
    """What an engine can take.

    Attributes:
        context: tokens of a prompt and its answer together.
        waiting: requests that may wait for their turn.
    """

    context: int
    waiting: int


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to end.

    Attributes:
        max_tokens: tokens to generate at most.
        temperature: 0 is greedy.
        top_p: the probability mass that is sampled from.
        top_k: how many of the likeliest tokens are sampled from; 0 is all.
        min_p: the least probability that a token may have, as a share of the likeliest one's.
        presence_penalty: taken from the logits of tokens that the answer has already.
        frequency_penalty: the same for every time that it has them.
        repetition_penalty: what the logits of tokens in prompt or answer are divided by (multiplied
            with where they are negative), as in Keskar et al., arXiv 1909.05858.
        logit_bias: what is added to the logits of some tokens.
        seed: the same seed gives the same tokens; None draws afresh.
        stop: texts that end the answer and are not part of it.
        stop_token_ids: more tokens that end the answer.
        min_tokens: no end before so many tokens.
        ignore_eos: go on after the model's own end token.
        logprobs: how many alternatives are told with each token, beside its own log probability;
            None tells nothing.
        grammar: what the answer's text must match; see engine.grammar. Empty: anything.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    logprobs: int | None = None
    grammar: str = ""

    @property
    def looks_back(self) -> bool:
        """Whether a token can be chosen only when the one before it is known to the CPU."""
        return bool(
            self.grammar
            or self.presence_penalty
            or self.frequency_penalty
            or self.repetition_penalty != 1
        )


@dataclass(frozen=True)
class Request:
    """A prompt to continue."""

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True)
class Logprobs:
    """Log probabilities at one place of an answer, before temperature and filters.

    Attributes:
        chosen: of the token that was chosen.
        top: the likeliest tokens and theirs, likeliest first; as many as were asked for.
    """

    chosen: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Output:
    """What one or more steps added to an answer; the last one has a finish reason.

    Attributes:
        token_ids: the tokens.
        text: what they add to the text; may be empty while a character or a possible stop text is
            incomplete.
        finish_reason: why the answer ends here, if it does.
        cached_tokens: tokens of the prompt that needed no computing; the same in all outputs.
        logprobs: one for each token where they were asked for.
        queue_seconds: how long the request waited for its turn; the same in all outputs; None
            where the engine does not tell.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: tuple[Logprobs, ...] = ()
    queue_seconds: float | None = None


@dataclass(frozen=True)
class Load:
    """How busy an engine is.

    Attributes:
        running: requests that are being answered.
        waiting: requests that wait for their turn.
        cache: the share of the cache of keys and values that is in use, 0 to 1.
    """

    running: int
    waiting: int
    cache: float = 0.0


@dataclass(frozen=True)
class Totals:
    """What an engine has done since its start.

    Attributes:
        prompt_tokens: tokens of prompts that were looked up in the cache.
        prompt_tokens_found: how many of them were there.
        preemptions: how often a running request had to give its cache to an older one.
        step_seconds: how long the steps took; its count is the number of steps.
        step_tokens: how many tokens they computed.
        step_sequences: of how many sequences.
    """

    prompt_tokens: int = 0
    prompt_tokens_found: int = 0
    preemptions: int = 0
    step_seconds: Distribution = NOTHING
    step_tokens: Distribution = NOTHING
    step_sequences: Distribution = NOTHING


class OutputStream(Protocol):
    """The outputs of one request, in order.

    Iteration raises EngineError where the request fails.
    """

    def __aiter__(self) -> Self:
        """The stream itself."""

    async def __anext__(self) -> Output:
        """The next output."""

    def cancel(self) -> None:
        """Stop generating; harmless at any time and as often as one likes."""


class Engine(Protocol):
    """Generates tokens for many requests."""

    @property
    def limits(self) -> Limits:
        """What it can take."""

    @property
    def load(self) -> Load:
        """How busy it is."""

    @property
    def totals(self) -> Totals:
        """What it has done."""

    @property
    def alive(self) -> bool:
        """Whether it can still make progress; a process whose engine cannot must end."""

    def submit(self, request: Request) -> OutputStream:
        """Queue a request that keeps within the limits.

        Raises:
            QueueFullError: too many wait already.
            EngineClosedError: the engine was closed.
        """

    async def close(self) -> None:
        """End all requests with EngineClosedError and free the model."""
