"""Error responses of the endpoint, in the format of the model server."""

import json
import math
from dataclasses import dataclass
from typing import Any

from deepseek_operator.local.view import View

# Retry-After in seconds if the time until ready is unknown, and its maximum.
SOON, LATE = 5, 60
EVENT_END = b"\n\n"


@dataclass(frozen=True)
class Refusal:
    """The error response of a request that no replica can serve.

    Attributes:
        message: Error message.
        code: Machine-readable error code.
        retry_after: Seconds after which to retry.
    """

    message: str
    code: str
    retry_after: int


def body(status: int, message: str, code: str) -> dict[str, Any]:
    """Return the JSON body of an error response."""
    kind = "service_unavailable_error" if status == 503 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def event(message: str, code: str) -> bytes:
    """Return an error as the last event of a stream."""
    return b"data: " + json.dumps(body(503, message, code)).encode() + EVENT_END


def not_ready(view: View) -> Refusal:
    """Return the refusal for a request while no replica can serve it."""
    if view.asked_to_end:
        return Refusal(f"{view.name} is shutting down", "shutting_down", LATE)
    if view.state == "Failed":
        return Refusal(f"all replicas of {view.name} have failed", "no_replica", LATE)
    states = "; ".join(str(replica) for replica in view.replicas if replica.phase != "ready")
    left = [item.seconds_left for item in view.replicas if item.seconds_left is not None]
    seconds = min(max(math.ceil(min(left, default=SOON)), 1), LATE)
    return Refusal(f"no replica of {view.name} is ready yet ({states})", "not_ready", seconds)


def gone(index: int) -> str:
    """Return the error message for a client whose replica exited during its request."""
    return f"replica {index} exited while serving this request: retry the request"


class Whole:
    """A buffer that forwards only whole events of a stream, so that an error never splits one."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, piece: bytes) -> bytes:
        """Add a piece and return the events that are complete."""
        data = self._rest + piece
        cut = data.rfind(EVENT_END)
        end = cut + len(EVENT_END) if cut >= 0 else 0
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """Return the incomplete event at the end."""
        return self._rest
