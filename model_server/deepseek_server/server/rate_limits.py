"""Rate limits of API keys.

Requests and tokens each have a token bucket that refills steadily and holds the limit of a minute.
A request takes one unit from the request bucket and needs at least one in the token bucket. Its number
of tokens is known only at its end, so tokens are taken as they are generated. The bucket may go
negative; the next request then waits until it has recovered.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# Tolerance for rounding errors of levels.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Allowance:
    """Limits of a key's owner; None is unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None


class Bucket:
    """A token bucket: full at first, and again after a minute without use.

    Args:
        per_minute: its capacity, and the refill per minute.
        now: the current time in seconds, on the same clock as that of the methods.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level, self._at = float(per_minute), now

    def level(self, now: float) -> float:
        """Return the level; negative if more was taken than available."""
        inflow = (now - self._at) * self.per_minute / 60
        return min(float(self.per_minute), self._level + inflow)

    def take(self, amount: float, now: float) -> None:
        """Take an amount, even if it exceeds the level."""
        self._level, self._at = self.level(now) - amount, now

    def remaining(self, now: float) -> int:
        """Return how many whole units are available."""
        return max(0, math.floor(self.level(now) + ROUNDING))

    def wait(self, now: float) -> float:
        """Return the seconds until one whole unit is available."""
        missing = 1 - self.level(now)
        return missing * 60 / self.per_minute if missing > ROUNDING else 0.0

    def reset(self, now: float) -> float:
        """Return the seconds until it is full."""
        return (self.per_minute - self.level(now)) * 60 / self.per_minute


@dataclass(frozen=True)
class Refusal:
    """The reason to reject a request.

    Attributes:
        what: the limit that was reached, for messages.
        seconds: time until a retry may succeed.
    """

    what: str
    seconds: float


class Account:
    """The usage of one key's owner.

    Args:
        allowance: the limits.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowance = allowance
        self.running = 0
        self._clock = clock
        requests, tokens = allowance.requests_per_minute, allowance.tokens_per_minute
        self.requests = None if requests is None else Bucket(requests, clock())
        self.tokens = None if tokens is None else Bucket(tokens, clock())

    def enter(self) -> Refusal | None:
        """Admit a request, to be followed by `leave`, or return why it is rejected."""
        refusal = self._refusal(self._clock())
        if refusal is None:
            self.running += 1
            if self.requests is not None:
                self.requests.take(1, self._clock())
        return refusal

    def leave(self) -> None:
        """Record the end of an admitted request."""
        self.running -= 1

    def charge(self, tokens: int) -> None:
        """Take tokens from the token bucket."""
        if self.tokens is not None:
            self.tokens.take(tokens, self._clock())

    def headers(self) -> dict[str, str]:
        """Return OpenAI's rate limit headers for the state of the buckets."""
        now = self._clock()
        headers: dict[str, str] = {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                headers |= {
                    f"x-ratelimit-limit-{name}": str(bucket.per_minute),
                    f"x-ratelimit-remaining-{name}": str(bucket.remaining(now)),
                    f"x-ratelimit-reset-{name}": duration(bucket.reset(now)),
                }
        return headers

    def _refusal(self, now: float) -> Refusal | None:
        most = self.allowance.max_concurrent
        if most is not None and self.running >= most:
            return Refusal(f"{most} concurrent requests", 1)
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None and (seconds := bucket.wait(now)) > 0:
                return Refusal(f"{bucket.per_minute} {name} per minute", seconds)
        return None


def duration(seconds: float) -> str:
    """Format a duration as OpenAI's headers do: `17ms`, `8.64s`, `6m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    rest = f"{milliseconds / 1000:g}s"
    return f"{minutes}m{rest}" if minutes else rest
