"""Short-lived cache of asynchronous results, with one request for all concurrent callers."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Number of keys from which on expired ones are removed.
TIDY = 1024


class Shared(Generic[K, V]):
    """Cache of results by key, each valid for some seconds; concurrent callers share one request.

    Args:
        seconds: Lifetime of a result, from the start of its request.
        ask: Returns the result for a key. An exception is raised in all waiting callers, not cached.
    """

    def __init__(self, seconds: float, ask: Callable[[K], Awaitable[V]]):
        self._seconds = seconds
        self._ask = ask
        self._answers: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def get(self, key: K) -> V:
        """Return the result for a key, or raise the exception of its request."""
        now = asyncio.get_running_loop().time()
        since, answer = self._answers.get(key, (0.0, None))
        if answer is None or now - since > self._seconds or _failed(answer):
            self._tidy(now)
            answer = asyncio.ensure_future(self._ask(key))
            # Retrieve the exception, so that asyncio does not log it if no caller is left.
            answer.add_done_callback(_failed)
            self._answers[key] = (now, answer)
        # A cancelled caller must not cancel the request of the others.
        return await asyncio.shield(answer)

    def _tidy(self, now: float) -> None:
        if len(self._answers) < TIDY:
            return
        self._answers = {
            key: (since, answer)
            for key, (since, answer) in self._answers.items()
            if now - since <= self._seconds or not answer.done()
        }


def _failed(answer: "asyncio.Future[V]") -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)
