"""The interface of an engine.

An engine takes token ids and returns, token by token, ids and the text that they add. It is
independent of HTTP. All methods are called on the event loop and must not block.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

from deepseek_server.engine.histogram import NOTHING, Distribution

FinishReason = Literal["stop", "length"]


class EngineError(Exception):
    """A request failed in the engine; other requests continue."""


class EngineClosedError(EngineError):
    """The engine was closed before the request was done."""


class EngineGoneError(EngineClosedError):
    """The engine has ended unexpectedly; this server cannot serve requests any more."""


class QueueFullError(Exception):
    """The queue of waiting requests is full."""


@dataclass(frozen=True)
class Limits:
    """The limits of an engine.

    Attributes:
        context: maximum tokens of a prompt and its answer together.
        waiting: maximum number of waiting requests.
    """

    context: int
    waiting: int


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters and stop conditions.

    Attributes:
        max_tokens: maximum number of tokens to generate.
        temperature: 0 is greedy.
        top_p: the probability mass to sample from.
        top_k: number of most likely tokens to sample from; 0 is all.
        min_p: minimum probability of a token, relative to the most likely one.
        presence_penalty: subtracted from the logits of tokens that are in the answer.
        frequency_penalty: subtracted once for each occurrence in the answer.
        repetition_penalty: divisor of the logits of tokens in prompt or answer (factor if they are
            negative), as in Keskar et al., arXiv 1909.05858.
        logit_bias: values to add to the logits of single tokens.
        seed: the same seed gives the same tokens; None chooses a random one.
        stop: strings that end the answer and are not part of it.
        stop_token_ids: additional end tokens.
        min_tokens: minimum number of tokens before the answer may end.
        ignore_eos: whether to continue after the model's own end tokens.
        logprobs: number of alternatives to report with each token, in addition to its own log
            probability; None reports none.
        grammar: the grammar of the answer's text; see engine.grammar. Empty: unconstrained.
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
        """Whether sampling a token needs the previous one on the CPU."""
        return bool(
            self.grammar
            or self.presence_penalty
            or self.frequency_penalty
            or self.repetition_penalty != 1
        )


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it."""

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True)
class Logprobs:
    """Log probabilities at one position of an answer, before temperature and filters.

    Attributes:
        chosen: log probability of the sampled token.
        top: the most likely tokens and their log probabilities, in descending order; as many as
            requested.
    """

    chosen: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Output:
    """The tokens that one or more steps added to an answer; the last output has a finish reason.

    Attributes:
        token_ids: the tokens.
        text: the text that they add; may be empty while a character or a possible stop string is
            incomplete.
        finish_reason: the finish reason if the answer ends here.
        cached_tokens: prompt tokens found in the prefix cache; the same in all outputs.
        logprobs: one entry for each token, if requested.
        queue_seconds: time in the queue; the same in all outputs; None if the engine does not report
            it.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: tuple[Logprobs, ...] = ()
    queue_seconds: float | None = None


@dataclass(frozen=True)
class Load:
    """The load of an engine.

    Attributes:
        running: number of running requests.
        waiting: number of waiting requests.
        cache: share of the KV cache in use, 0 to 1.
    """

    running: int
    waiting: int
    cache: float = 0.0


@dataclass(frozen=True)
class Totals:
    """Counters of an engine since its start.

    Attributes:
        prompt_tokens: prompt tokens looked up in the prefix cache.
        prompt_tokens_found: prompt tokens found there.
        preemptions: number of times that a running request lost its blocks to an older one.
        step_seconds: duration of steps; its count is the number of steps.
        step_tokens: tokens per step.
        step_sequences: sequences per step.
    """

    prompt_tokens: int = 0
    prompt_tokens_found: int = 0
    preemptions: int = 0
    step_seconds: Distribution = NOTHING
    step_tokens: Distribution = NOTHING
    step_sequences: Distribution = NOTHING


class OutputStream(Protocol):
    """The outputs of one request, in order.

    Iteration raises EngineError if the request fails.
    """

    def __aiter__(self) -> Self:
        """Return the stream itself."""

    async def __anext__(self) -> Output:
        """Return the next output."""

    def cancel(self) -> None:
        """Stop generating; safe to call at any time and repeatedly."""


class Engine(Protocol):
    """Generates tokens for many requests."""

    @property
    def limits(self) -> Limits:
        """The engine's limits."""

    @property
    def load(self) -> Load:
        """The current load."""

    @property
    def totals(self) -> Totals:
        """The counters since the start."""

    @property
    def alive(self) -> bool:
        """Whether the engine can still make progress; if not, the server process must end."""

    def submit(self, request: Request) -> OutputStream:
        """Queue a request that is within the limits.

        Raises:
            QueueFullError: too many requests are waiting.
            EngineClosedError: the engine was closed or has ended.
        """

    async def close(self) -> None:
        """End all requests with EngineClosedError and free the model."""
