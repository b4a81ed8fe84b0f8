"""Record of one HTTP request for the log, for traces, and for the rate limits of its key.

The outermost middleware creates a record and makes it the current one. Code that handles the request
adds to the current record, which need not be passed around.
"""

import time
from asyncio import get_running_loop
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from deepseek_server.engine.types import Request


def _free(_: int) -> None:
    """Charge no account."""


@dataclass(slots=True)
class AnswerRecord:
    """One request to the engine; an HTTP request may have several.

    Attributes:
        request: the engine's request.
        submitted: time of its submission, in seconds of the monotonic clock.
        first_token: time of its first token.
        generated: number of generated tokens.
        cached: prompt tokens found in the prefix cache.
        queue_seconds: time in the queue, if the engine reports it.
        reason: finish reason: stop, length, abort, deadline, error.
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
        """The id in the response; the engine's request id is this and the index of the choice."""
        return self.request.id.rpartition("-")[0]


@dataclass(slots=True)
class Record:
    """One HTTP request.

    Attributes:
        id: the client's X-Request-Id, or a generated one.
        method: the HTTP method.
        route: the route's path template; `none` if no route matches.
        began: start time, in seconds of the monotonic clock.
        began_ns: start time, in nanoseconds since 1970.
        timeout: time limit in seconds; None is unlimited.
        deadline: end of the time limit, in seconds of the event loop's clock.
        key: the name of the API key.
        charge: called with the number of tokens as they are used.
        status: the status of the response.
        error: the code of the error response, or of an error event in the stream.
        answers: its requests to the engine.
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
        """Seconds until the deadline, if there is one; only valid on the event loop."""
        return None if self.deadline is None else self.deadline - get_running_loop().time()

    def limit(self, seconds: float | None) -> None:
        """Set the time limit of the request, which starts now; None is unlimited."""
        self.timeout = seconds
        self.deadline = None if seconds is None else get_running_loop().time() + seconds

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts; a prompt with n choices counts n times."""
        return sum(len(answer.request.prompt) for answer in self.answers)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens found in the prefix cache."""
        return sum(answer.cached for answer in self.answers)

    @property
    def generated_tokens(self) -> int:
        """Generated tokens of all choices."""
        return sum(answer.generated for answer in self.answers)

    @property
    def queue_seconds(self) -> float | None:
        """Longest time in the queue of any choice."""
        times = (answer.queue_seconds for answer in self.answers)
        return max((time for time in times if time is not None), default=None)

    @property
    def first_token_seconds(self) -> float | None:
        """Seconds from the start of the request to its first token."""
        times = (answer.first_token for answer in self.answers)
        first = min((time for time in times if time is not None), default=None)
        return None if first is None else first - self.began

    @property
    def finish_reasons(self) -> list[str]:
        """Finish reason of each choice."""
        return [answer.reason for answer in self.answers]


_current: ContextVar[Record | None] = ContextVar("record", default=None)


def current() -> Record:
    """Return the record of the current request; outside a request, an unused one."""
    return _current.get() or Record(id="", method="")


def begin(record: Record) -> None:
    """Make a record the current one of this task and of the tasks that it starts."""
    _current.set(record)
