"""A fake server under the control of a test."""

import asyncio

from deepseek_operator.local.process import End, Health

READY = Health("ready", "the model takes requests")
KILLED = End(-9, "was killed by SIGKILL")


def now() -> float:
    return asyncio.get_running_loop().time()


class FakeServer:
    """A server whose health and exit a test controls."""

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
            self.fail(End(0, "exited with code 0"))

    def kill(self) -> None:
        self.fail(KILLED)

    def fail(self, end: End) -> None:
        if not self.end.done():
            self.end.set_result(end)
