"""Arrival times of an answer's tokens, from a recorded exchange.

While the load runs, only times and bytes are recorded; they are evaluated afterwards, so that
parsing JSON delays no stream.

The number of tokens of an event is that of its `token_ids`, if the server sends them. Otherwise the
answer's tokens (its usage, or one per event if there is no usage) are assumed to be spread evenly
over its events. The time between two events is divided among the tokens of the second: an event of
3 tokens that arrives 30 ms after the previous one counts as 3 gaps of 10 ms.
"""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

DONE = b"[DONE]"


@dataclass(slots=True)
class Exchange:
    """A request and its answer as recorded from the connection; times in seconds.

    Attributes:
        sent: time when the request was sent.
        ended: time when the answer was complete.
        status: HTTP status, 0 if there was none.
        events: arrival time and data of each event.
        body: the body if it had no events.
        error: error of the connection.
        cut: whether the measurement ended before the answer did.
    """

    sent: float
    ended: float = 0.0
    status: int = 0
    events: list[tuple[float, bytes]] = field(default_factory=list)
    body: bytes = b""
    error: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """The timing of a request; times in seconds.

    Attributes:
        sent: time when it was sent.
        ended: time when its answer was complete.
        arrivals: arrival times and numbers of tokens (a mean may be fractional).
        prompt_tokens: tokens of its prompt, 0 if the server does not report them.
        cached_tokens: tokens of its prompt that were cached.
        output_tokens: tokens of its answer.
        error: cause of a failure, "" if it succeeded.
        cut: whether the measurement ended before the answer did.
    """

    sent: float
    ended: float
    arrivals: tuple[tuple[float, float], ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: float = 0
    error: str = ""
    cut: bool = False

    @property
    def complete(self) -> bool:
        """Whether the complete answer was received."""
        return not self.error and not self.cut

    @property
    def first_token(self) -> float:
        """Seconds from sending to the first token."""
        return self.arrivals[0][0] - self.sent

    @property
    def whole(self) -> float:
        """Seconds from sending to the end."""
        return self.ended - self.sent

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Seconds between tokens after the first event, each with its number of tokens."""
        return [
            ((now - before) / tokens, tokens)
            for (before, _), (now, tokens) in pairwise(self.arrivals)
        ]

    @property
    def per_token(self) -> float:
        """Mean seconds between tokens, 0 if there are fewer than two."""
        gaps = self.gaps
        tokens = sum(count for _, count in gaps)
        return sum(gap * count for gap, count in gaps) / tokens if tokens else 0.0


def timing(exchange: Exchange) -> Timing:
    """Return the timing of an exchange."""
    error = _failure(exchange)
    usage: dict[str, Any] = {}
    pieces: list[tuple[float, int]] = []
    last = exchange.ended
    for when, data in exchange.events:
        if data == DONE:
            continue
        event = _decoded(data)
        if event is None or "error" in event:
            error = error or f"the server ended the answer with {_excerpt(data)}"
            continue
        usage = event.get("usage") or usage
        if (tokens := _tokens(event)) is not None:
            pieces.append((when, tokens))
        elif event.get("choices"):
            last = when
    if not pieces and usage.get("completion_tokens"):
        pieces = [(last, 0)]  # tokens without text, such as half of a character
    if not pieces and not error and not exchange.cut:
        error = "the answer has no tokens"
    arrivals = _counted(pieces, usage.get("completion_tokens"))
    return Timing(
        sent=exchange.sent,
        ended=exchange.ended,
        arrivals=arrivals,
        prompt_tokens=usage.get("prompt_tokens", 0),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        output_tokens=sum(count for _, count in arrivals),
        error=error,
        cut=exchange.cut,
    )


def _failure(exchange: Exchange) -> str:
    if exchange.error or exchange.cut:
        return exchange.error
    if exchange.status != 200:
        return f"status {exchange.status}: {_excerpt(exchange.body)}"
    return ""


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(data)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _tokens(event: dict[str, Any]) -> int | None:
    """Return the number of an event's tokens, 0 if it is unknown, None if it has none."""
    for choice in event.get("choices") or ():
        if ids := choice.get("token_ids"):
            return len(ids)
        delta = choice.get("delta") or choice
        if any(delta.get(part) for part in ("text", "content", "reasoning_content", "tool_calls")):
            return 0
    return None


def _counted(
    pieces: list[tuple[float, int]], completion_tokens: int | None
) -> tuple[tuple[float, float], ...]:
    """Return arrivals whose tokens add up to the usage that the server reported."""
    unknown = sum(count == 0 for _, count in pieces)
    known = sum(count for _, count in pieces)
    total = unknown + known if completion_tokens is None else completion_tokens
    share = max(total - known, 0) / unknown if unknown else 0.0
    counted = ((when, count or share) for when, count in pieces)
    return tuple((when, count) for when, count in counted if count)


def _excerpt(data: bytes) -> str:
    return data[:300].decode(errors="replace").strip()
