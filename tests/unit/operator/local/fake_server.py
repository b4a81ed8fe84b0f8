"""A server that does what a test tells it."""

import asyncio

from deepseek_operator.local.process import End, Health

READY = Health("ready", "the model takes requests")
KILLED = End(-9, "was ended by SIGKILL")


def now() -> float:
    return asyncio.get_running_loop().time()


class FakeServer:
    """Answers what it is told to, and ends when it is told to."""

    port, pid = 4242, 7

    def __init__(self, health: Health | None = READY, *, drains: bool = True) -> None:
        self.health = health
        self.end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self.asked_at: float | None = None
        self._drains = drains

    async def exited(self) -> None:
        await asyncio.shield(self.end)

    async def ended(self) -> End:
        return await asyncio.shield(self.end)

    async def ask(self) -> Health | None:
        return self.health

    def terminate(self) -> None:
        self.asked_at = now()
        if self._drains:
            self.fail(End(0, "ended with exit code 0"))

    def kill(self) -> None:
        self.fail(KILLED)

    def fail(self, end: End) -> None:
        if not self.end.done():
            self.end.set_result(end)
