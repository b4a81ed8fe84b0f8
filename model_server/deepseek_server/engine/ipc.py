"""Messages between the server and the engine process.

These are separate processes, so that a burst of clients does not delay the engine, loading a model
does not delay the server, and a broken device only ends the engine. They trust each other: messages
are pickled and sent over a socket that no other process can open.
"""

from dataclasses import dataclass
from typing import NamedTuple

from deepseek_server.engine.types import FinishReason, Load, Logprobs, Request, Totals


class Token(NamedTuple):
    """The token that one step sampled for one request.

    A tuple, because every step pickles hundreds of them.

    Attributes:
        request: the request's id.
        token: the token.
        finish_reason: the finish reason if the answer ends with it. An end token (`stop`) is not part
            of the text.
        cached_tokens: prompt tokens found in the prefix cache.
        logprobs: log probabilities, if requested.
        queue_seconds: time from arrival to the first step.
    """

    request: str
    token: int
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: Logprobs | None = None
    queue_seconds: float = 0.0


class Failure(NamedTuple):
    """The failure of a request.

    Attributes:
        request: the request's id.
        reason: the reason, as a sentence.
    """

    request: str
    reason: str


Result = Token | Failure


@dataclass(frozen=True)
class Cancel:
    """To the engine: the request was cancelled."""

    request: str


@dataclass(frozen=True)
class Close:
    """To the engine: end. From a rank that is not rank 0: it has ended as requested.

    Attributes:
        lost: whether the server has ended without requesting it.
    """

    lost: bool = False


Command = Request | Cancel | Close


@dataclass(frozen=True)
class Loading:
    """From the engine: progress of the start.

    Attributes:
        stage: description of the current stage.
        loaded: bytes done.
        total: total bytes; 0 if unknown.
    """

    stage: str
    loaded: int
    total: int


@dataclass(frozen=True)
class StartFailed:
    """From the engine: it cannot start.

    Attributes:
        sentence: what is wrong, where, and what to do.
        exit_code: the exit code for the server, which tells whether a retry may help.
    """

    sentence: str
    exit_code: int


@dataclass(frozen=True)
class SlowestPair:
    """The two hosts of a gang with the slowest connection.

    Attributes:
        hosts: their names.
        gigabytes_per_second: one way, 10^9 bytes.
    """

    hosts: tuple[str, str]
    gigabytes_per_second: float


@dataclass(frozen=True)
class NetworkReport:
    """From the engine: the ranks of a gang have connected; describes the network between them.

    Attributes:
        transport: the transport between pods: tcp, IB, RoCE, Socket, P2P, SHM, or unknown.
        gigabytes_per_second: algorithm bandwidth of an all-reduce, 10^9 bytes.
        slowest_pair: the slowest pair, if it was measured.
        problem: a sentence if the network is slower than required; else empty.
    """

    transport: str
    gigabytes_per_second: float
    slowest_pair: SlowestPair | None = None
    problem: str = ""


@dataclass(frozen=True)
class Ready:
    """From the engine: it is ready for requests.

    Attributes:
        context: maximum tokens of a prompt and its answer together.
        max_num_seqs: maximum number of running requests.
    """

    context: int
    max_num_seqs: int


@dataclass(frozen=True)
class Report:
    """From the engine: the results since the last report; the totals only at intervals."""

    results: list[Result]
    load: Load
    totals: Totals | None


@dataclass(frozen=True)
class Lost:
    """From the engine: it cannot continue and ends."""

    reason: str
