"""Answers of the endpoint where no replica can answer, in the shape that the model server's have."""

import json
import math
from dataclasses import dataclass
from typing import Any

from deepseek_operator.local.view import View

# Seconds after which to try again where nobody knows when a replica will be ready, and the most.
SOON, LATE = 5, 60
EVENT_END = b"\n\n"


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        message: In words.
        code: A word for programs.
        retry_after: Seconds after which it may be.
    """

    message: str
    code: str
    retry_after: int


def body(status: int, message: str, code: str) -> dict[str, Any]:
    """The JSON value of an error."""
    kind = "service_unavailable_error" if status == 503 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def event(message: str, code: str) -> bytes:
    """An error as the last event of a stream."""
    return b"data: " + json.dumps(body(503, message, code)).encode() + EVENT_END


def nobody(view: View) -> Refusal:
    """Why nobody takes a request at the moment."""
    if view.asked_to_end:
        return Refusal(f"{view.name} is being brought down", "shutting_down", LATE)
    if view.state == "Failed":
        return Refusal(f"no replica of {view.name} runs any more", "no_replica", LATE)
    told = "; ".join(str(replica) for replica in view.replicas if replica.phase != "ready")
    left = [item.seconds_left for item in view.replicas if item.seconds_left is not None]
    seconds = min(max(math.ceil(min(left, default=SOON)), 1), LATE)
    return Refusal(f"no replica of {view.name} is ready yet ({told})", "not_ready", seconds)


def gone(index: int) -> str:
    """What a client is told whose replica ended in the middle of its answer."""
    return f"replica {index}, which computed this answer, has ended: send the request again"


class Whole:
    """Passes on the events of a stream whole, so that an error never lands in the middle of one."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, piece: bytes) -> bytes:
        """What can be sent once this piece is there."""
        data = self._rest + piece
        cut = data.rfind(EVENT_END)
        end = cut + len(EVENT_END) if cut >= 0 else 0
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """What has come of an event that has not ended."""
        return self._rest
