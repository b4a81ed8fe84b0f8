"""The supervisor of a resource: runs its replicas and the endpoint in front of them until it is stopped."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import psutil

from deepseek_operator.local import orphans as leftovers
from deepseek_operator.local import process
from deepseek_operator.local import state_dir as place
from deepseek_operator.local.commands import LOOPBACK
from deepseek_operator.local.launch_plan import Arrangement
from deepseek_operator.local.pool import Pool
from deepseek_operator.local.proxy import answering
from deepseek_operator.local.replica_supervisor import Keeper
from deepseek_operator.local.view import ReplicaView, View

WRITE_SECONDS = 0.5
CUT_SECONDS = 60.0

Shown = Callable[[View], None]


def endpoint(host: str, port: int) -> str:
    """Return the base URL at which this machine reaches a listening address."""
    here = LOOPBACK if host in ("0.0.0.0", "") else "[::1]" if host == "::" else host  # noqa: S104
    named = f"[{here}]" if ":" in here and not here.startswith("[") else here
    return f"http://{named}:{port}"


class Supervisor:
    """The supervisor of all replicas of a resource.

    Args:
        arrangement: The launch plan.
        kept: State directory.
        listening: The endpoint's listening socket; serving starts in `run`.
        shown: Callback for every status change.
    """

    def __init__(
        self, arrangement: Arrangement, kept: place.Place, listening: socket.socket, shown: Shown
    ) -> None:
        self._arrangement, self._place, self._listening = arrangement, kept, listening
        self._shown = shown
        self._pool = Pool()
        self._end, self._now = asyncio.Event(), asyncio.Event()
        self._changed = True
        host, port = listening.getsockname()[:2]
        self.view = View(
            name=arrangement.name,
            run=arrangement.run,
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            since=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            endpoint=endpoint(host, port),
            model=arrangement.model_id,
            served_name=arrangement.served_name,
            runs_on=arrangement.runs_on,
            replicas=tuple(
                ReplicaView(index=item.index, on=item.gpus) for item in arrangement.replicas
            ),
        )

    def ask_to_end(self) -> None:
        """Drain and stop on the first call, stop immediately on the second."""
        if self._end.is_set():
            self._now.set()
        self._end.set()

    async def run(self) -> bool:
        """Run until stopped; return True if a stop was requested, False if all replicas failed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.ask_to_end)
        async with (
            aiohttp.ClientSession() as session,
            answering(self._listening, self._pool, lambda: self.view),
        ):
            keepers = [
                Keeper(
                    ReplicaView(index=item.index, on=item.gpus),
                    partial(process.start, self._arrangement, item, self._place, session),
                    self._tell,
                )
                for item in self._arrangement.replicas
            ]
            writing = asyncio.create_task(self._write())
            try:
                await self._keep(keepers)
            finally:
                writing.cancel()
                engine = self._arrangement.engine
                await asyncio.to_thread(leftovers.end, self._arrangement.run, None, engine)
        asked = self._end.is_set()
        self._update(over=True)
        self._keep_view()
        return asked

    async def _keep(self, keepers: list[Keeper]) -> None:
        """Run the replica supervisors until all have finished, by failure or because of a stop request."""
        running = [asyncio.create_task(keeper.run()) for keeper in keepers]
        kept = asyncio.gather(*running)
        asked = asyncio.create_task(self._end.wait())
        either: set[asyncio.Future[Any]] = {kept, asked}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not kept.done():
            self._update(asked_to_end=True)
            seconds = self._arrangement.drain_seconds
            stopping = [asyncio.create_task(keeper.stop(seconds)) for keeper in keepers]
            hurry = asyncio.create_task(self._now.wait())
            either = {kept, hurry}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if hurry.done():
                for keeper in keepers:
                    keeper.kill()
            hurry.cancel()
            await asyncio.gather(kept, *stopping)
        asked.cancel()
        await kept

    def _tell(self, replica: ReplicaView) -> None:
        if replica.phase == "ready" and replica.port:
            self._pool.put(replica.index, f"http://{LOOPBACK}:{replica.port}")
        else:
            self._pool.drop(replica.index)
        replicas = tuple(
            replica if item.index == replica.index else item for item in self.view.replicas
        )
        self._update(replicas=replicas)

    def _update(self, **changed: object) -> None:
        self.view = self.view.model_copy(update=changed)
        self._changed = True
        with contextlib.suppress(OSError):  # a closed terminal must not stop the servers
            self._shown(self.view)

    def _keep_view(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the servers
            self._place.write_view(self.view)

    async def _write(self) -> None:
        """Store the status periodically, for `status`, and rotate large logs."""
        loop = asyncio.get_running_loop()
        cut_at = loop.time() + CUT_SECONDS
        while True:
            if self.view.requests != self._pool.requests:
                self._update(requests=self._pool.requests)
            if self._changed:
                self._changed = False
                self._keep_view()
            if loop.time() > cut_at:
                cut_at = loop.time() + CUT_SECONDS
                for log in self._place.logs().values():
                    with contextlib.suppress(OSError):
                        await asyncio.to_thread(place.cut, log)
            await asyncio.sleep(WRITE_SECONDS)
