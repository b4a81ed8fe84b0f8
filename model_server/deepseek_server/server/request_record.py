"""What is known of one HTTP request: for the log, for traces, and for whoever pays for it.

The outermost layer of the application makes a record and makes it the current one; whatever runs on
the request's behalf adds to it, without being handed it.
"""

import time
from asyncio import get_running_loop
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from deepseek_server.engine.types import Request


def _free(_: int) -> None:
    """Nobody pays for these tokens."""


@dataclass(slots=True)
class AnswerRecord:
    """One request to the engine; an HTTP request may make several.

    Attributes:
        request: what was asked of the engine.
        submitted: when, in seconds of the monotonic clock.
        first_token: when its first token came.
        generated: tokens of the answer.
        cached: tokens of the prompt that needed no computing.
        queue_seconds: how long it waited for its turn, if the engine tells.
        reason: why it ended: stop, length, abort, deadline, error.
    """

    request: Request
    submitted: float
    first_token: float | None = None
    generated: int = 0
    cached: int = 0
    queue_seconds: float | None = None
    reason: str = ""

    @property
    def response_id(self) -> str:
        """The id that the client was told: the engine's is that and the answer's number."""
        return self.request.id.rpartition("-")[0]


@dataclass(slots=True)
class Record:
    """One HTTP request.

    Attributes:
        id: the client's X-Request-Id, or one made here.
        method: of HTTP.
        route: the route's path, as written in the code; a path that is no route is `none`.
        began: when, in seconds of the monotonic clock.
        began_ns: when, in nanoseconds since 1970.
        timeout: seconds that it may take; None is unlimited.
        deadline: when it must have ended, in seconds of the event loop's clock.
        key: the name of the API key.
        charge: told of all tokens as they come.
        status: of the response.
        error: the code of the error that was answered, or sent within the stream.
        answers: what it asked of the engine.
    """

    id: str
    method: str
    route: str = "none"
    began: float = field(default_factory=time.monotonic)
    began_ns: int = field(default_factory=time.time_ns)
    timeout: float | None = None
    deadline: float | None = None
    key: str = ""
    charge: Callable[[int], None] = _free
    status: int = 500
    error: str = ""
    answers: list[AnswerRecord] = field(default_factory=list)

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        left = self.seconds_left
        return left is not None and left <= 0

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline, if there is one; on the event loop only."""
        return None if self.deadline is None else self.deadline - get_running_loop().time()

    def limit(self, seconds: float | None) -> None:
        """Let the request take so many seconds from now on, or as many as it likes."""
        self.timeout = seconds
        self.deadline = None if seconds is None else get_running_loop().time() + seconds

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts; a prompt that is answered n times counts n times."""
        return sum(len(answer.request.prompt) for answer in self.answers)

    @property
    def cached_tokens(self) -> int:
        """How many of them needed no computing."""
        return sum(answer.cached for answer in self.answers)

    @property
    def generated_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(answer.generated for answer in self.answers)

    @property
    def queue_seconds(self) -> float | None:
        """How long the answer that waited longest waited for its turn."""
        times = (answer.queue_seconds for answer in self.answers)
        return max((time for time in times if time is not None), default=None)

    @property
    def first_token_seconds(self) -> float | None:
        """From the request's arrival to its first token."""
        times = (answer.first_token for answer in self.answers)
        first = min((time for time in times if time is not None), default=None)
        return None if first is None else first - self.began

    @property
    def finish_reasons(self) -> list[str]:
        """Why each answer ended, in their order."""
        return [answer.reason for answer in self.answers]


_current: ContextVar[Record | None] = ContextVar("record", default=None)


def current() -> Record:
    """The record of the request that is being served; one that nobody reads where there is none."""
    return _current.get() or Record(id="", method="")


def begin(record: Record) -> None:
    """Make a record the current one of this task and of all that it starts."""
    _current.set(record)
