"""How much the owner of an API key may ask for.

Requests and tokens each come out of a bucket that fills steadily and holds what a minute allows.
A request needs one whole request in its bucket, and some tokens: how many it takes is known only
when it has ended, so tokens are taken as they come and the bucket may be left in debt, which the
next request has to wait for.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# What the arithmetic of levels may be off by.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Allowance:
    """What a key's owner may ask for; None is unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None


class Bucket:
    """A token bucket: full at first, and full again after a minute without use.

    Args:
        per_minute: what it holds, and what flows in per minute.
        now: seconds of the clock that all its methods are told.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level, self._at = float(per_minute), now

    def level(self, now: float) -> float:
        """What is in it; below zero where more was taken than there was."""
        inflow = (now - self._at) * self.per_minute / 60
        return min(float(self.per_minute), self._level + inflow)

    def take(self, amount: float, now: float) -> None:
        """Take some, whether it is there or not."""
        self._level, self._at = self.level(now) - amount, now

    def remaining(self, now: float) -> int:
        """Whole units that can be had."""
        return max(0, math.floor(self.level(now) + ROUNDING))

    def wait(self, now: float) -> float:
        """Seconds until there is one whole unit."""
        missing = 1 - self.level(now)
        return missing * 60 / self.per_minute if missing > ROUNDING else 0.0

    def reset(self, now: float) -> float:
        """Seconds until it is full."""
        return (self.per_minute - self.level(now)) * 60 / self.per_minute


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in.

    Attributes:
        what: the limit that is reached, in words.
        seconds: after which it may be let in.
    """

    what: str
    seconds: float


class Account:
    """What one key's owner uses.

    Args:
        allowance: what may be used.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowance = allowance
        self.running = 0
        self._clock = clock
        requests, tokens = allowance.requests_per_minute, allowance.tokens_per_minute
        self.requests = None if requests is None else Bucket(requests, clock())
        self.tokens = None if tokens is None else Bucket(tokens, clock())

    def enter(self) -> Refusal | None:
        """Let a request in, to be followed by `leave`, unless a limit is reached."""
        refusal = self._refusal(self._clock())
        if refusal is None:
            self.running += 1
            if self.requests is not None:
                self.requests.take(1, self._clock())
        return refusal

    def leave(self) -> None:
        """A request that was let in has ended."""
        self.running -= 1

    def charge(self, tokens: int) -> None:
        """Pay for tokens."""
        if self.tokens is not None:
            self.tokens.take(tokens, self._clock())

    def headers(self) -> dict[str, str]:
        """The state of the buckets, in the response headers that OpenAI has for it."""
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
            return Refusal(f"{most} requests at once", 1)
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None and (seconds := bucket.wait(now)) > 0:
                return Refusal(f"{bucket.per_minute} {name} per minute", seconds)
        return None


def duration(seconds: float) -> str:
    """A time as OpenAI's headers write it: `17ms`, `8.64s`, `6m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    rest = f"{milliseconds / 1000:g}s"
    return f"{minutes}m{rest}" if minutes else rest
