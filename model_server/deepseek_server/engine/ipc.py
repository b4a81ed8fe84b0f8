"""What the server and the process that computes say to each other.

The two are processes of their own, so that neither a burst of clients nor the loading of a model
keeps the other one waiting, and so that a broken device takes down one of them only. They trust
each other: messages travel pickled over a socket that nobody else can open.
"""

from dataclasses import dataclass
from typing import NamedTuple

from deepseek_server.engine.types import FinishReason, Load, Logprobs, Request, Totals


class Token(NamedTuple):
    """What one step chose for one request.

    A tuple, because hundreds of them are pickled in every step.

    Attributes:
        request: its id.
        token: the token.
        finish_reason: why the answer ends with it, if it does. A token that ends an answer by
            itself (`stop`) is not part of the text.
        cached_tokens: tokens of the prompt that needed no computing.
        logprobs: where they were asked for.
        queue_seconds: how long the request waited for its first step.
    """

    request: str
    token: int
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: Logprobs | None = None
    queue_seconds: float = 0.0


class Failure(NamedTuple):
    """A request that cannot be answered.

    Attributes:
        request: its id.
        reason: a sentence.
    """

    request: str
    reason: str


Result = Token | Failure


@dataclass(frozen=True)
class Cancel:
    """To the engine: nobody waits for this request any more."""

    request: str


@dataclass(frozen=True)
class Close:
    """To the engine: end. From one that follows another process: it has ended as it was asked to.

    Attributes:
        lost: whether the server is gone without having asked for it.
    """

    lost: bool = False


Command = Request | Cancel | Close


@dataclass(frozen=True)
class Loading:
    """From the engine: how far it is.

    Attributes:
        stage: what it does, in words.
        loaded: bytes done.
        total: bytes to do; 0 where unknown.
    """

    stage: str
    loaded: int
    total: int


@dataclass(frozen=True)
class StartFailed:
    """From the engine: it cannot start.

    Attributes:
        sentence: what is wrong, where, and what to do.
        exit_code: what the server is to end with, which says whether the next try may go better.
    """

    sentence: str
    exit_code: int


@dataclass(frozen=True)
class SlowestPair:
    """The two hosts of a gang between which tensors travel most slowly.

    Attributes:
        hosts: their names.
        gigabytes_per_second: one way, 10^9 bytes.
    """

    hosts: tuple[str, str]
    gigabytes_per_second: float


@dataclass(frozen=True)
class Met:
    """From the engine: the ranks of a gang have met, and what lies between them.

    Attributes:
        transport: how tensors travel between pods: tcp, IB, RoCE, Socket, P2P, SHM, or unknown.
        gigabytes_per_second: algorithm bandwidth of an all-reduce, 10^9 bytes.
        slowest_pair: where it was looked for.
        problem: a sentence where the network is slower than was asked for; else empty.
    """

    transport: str
    gigabytes_per_second: float
    slowest_pair: SlowestPair | None = None
    problem: str = ""


@dataclass(frozen=True)
class Ready:
    """From the engine: it takes requests.

    Attributes:
        context: tokens of a prompt and its answer together.
        sequences: requests that run at once at most.
    """

    context: int
    sequences: int


@dataclass(frozen=True)
class Report:
    """From the engine: what has happened since the last report; its totals only now and then."""

    results: list[Result]
    load: Load
    totals: Totals | None


@dataclass(frozen=True)
class Lost:
    """From the engine: the device is of no use any more, and the engine ends."""

    reason: str
