"""Answers that are worth the same for a moment, asked for once however many want them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# More than this many keys are looked through for what is too old.
TIDY = 1024


class Shared(Generic[K, V]):
    """Answers by key, each good for some seconds; who asks meanwhile waits for the same one.

    Args:
        seconds: How long an answer is good, counted from when it was asked for.
        ask: Gets the answer for a key. A failure is told to all who wait and not kept.
    """

    def __init__(self, seconds: float, ask: Callable[[K], Awaitable[V]]):
        self._seconds = seconds
        self._ask = ask
        self._answers: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def get(self, key: K) -> V:
        """The answer for a key; raises what asking for it raises."""
        now = asyncio.get_running_loop().time()
        since, answer = self._answers.get(key, (0.0, None))
        if answer is None or now - since > self._seconds or _failed(answer):
            self._tidy(now)
            answer = asyncio.ensure_future(self._ask(key))
            # A failure that nobody waits for any more is not worth a line in the log.
            answer.add_done_callback(_failed)
            self._answers[key] = (now, answer)
        # One who gives up does not take the answer from the others.
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
