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

from deepseek_operator.local import orphans, process
from deepseek_operator.local import state_dir as state_dirs
from deepseek_operator.local.commands import LOOPBACK
from deepseek_operator.local.launch_plan import LaunchPlan
from deepseek_operator.local.pool import Pool
from deepseek_operator.local.proxy import answering
from deepseek_operator.local.replica_supervisor import ReplicaSupervisor
from deepseek_operator.local.view import ReplicaView, View

WRITE_SECONDS = 0.5
CUT_SECONDS = 60.0

OnChange = Callable[[View], None]


def endpoint(host: str, port: int) -> str:
    """Return the base URL at which this machine reaches a listening address."""
    here = LOOPBACK if host in ("0.0.0.0", "") else "[::1]" if host == "::" else host  # noqa: S104
    named = f"[{here}]" if ":" in here and not here.startswith("[") else here
    return f"http://{named}:{port}"


class Supervisor:
    """The supervisor of all replicas of a resource.

    Args:
        launch_plan: The launch plan.
        state_dir: State directory.
        listening: The endpoint's listening socket; serving starts in `run`.
        on_change: Callback for every status change.
    """

    def __init__(
        self,
        launch_plan: LaunchPlan,
        state_dir: state_dirs.StateDir,
        listening: socket.socket,
        on_change: OnChange,
    ) -> None:
        self._launch_plan, self._state_dir, self._listening = launch_plan, state_dir, listening
        self._on_change = on_change
        self._pool = Pool()
        self._end, self._now = asyncio.Event(), asyncio.Event()
        self._changed = True
        host, port = listening.getsockname()[:2]
        self.view = View(
            name=launch_plan.name,
            run=launch_plan.run,
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            since=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            endpoint=endpoint(host, port),
            model=launch_plan.model_id,
            served_name=launch_plan.served_name,
            runs_on=launch_plan.runs_on,
            replicas=tuple(
                ReplicaView(index=item.index, on=item.gpus) for item in launch_plan.replicas
            ),
        )

    def request_stop(self) -> None:
        """Drain and stop on the first call, stop immediately on the second."""
        if self._end.is_set():
            self._now.set()
        self._end.set()

    async def run(self) -> bool:
        """Run until stopped; return True if a stop was requested, False if all replicas failed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.request_stop)
        async with (
            aiohttp.ClientSession() as session,
            answering(self._listening, self._pool, lambda: self.view),
        ):
            supervisors = [
                ReplicaSupervisor(
                    ReplicaView(index=item.index, on=item.gpus),
                    partial(process.start, self._launch_plan, item, self._state_dir, session),
                    self._replica_changed,
                )
                for item in self._launch_plan.replicas
            ]
            writing = asyncio.create_task(self._write())
            try:
                await self._supervise(supervisors)
            finally:
                writing.cancel()
                engine = self._launch_plan.engine
                await asyncio.to_thread(orphans.end, self._launch_plan.run, None, engine)
        stop_requested = self._end.is_set()
        self._update(over=True)
        self._store_view()
        return stop_requested

    async def _supervise(self, supervisors: list[ReplicaSupervisor]) -> None:
        """Run the replica supervisors until all have finished, by failure or because of a stop request."""
        running = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
        finished = asyncio.gather(*running)
        stop_requested = asyncio.create_task(self._end.wait())
        either: set[asyncio.Future[Any]] = {finished, stop_requested}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            self._update(asked_to_end=True)
            seconds = self._launch_plan.drain_seconds
            stopping = [asyncio.create_task(supervisor.stop(seconds)) for supervisor in supervisors]
            hurry = asyncio.create_task(self._now.wait())
            either = {finished, hurry}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if hurry.done():
                for supervisor in supervisors:
                    supervisor.kill()
            hurry.cancel()
            await asyncio.gather(finished, *stopping)
        stop_requested.cancel()
        await finished

    def _replica_changed(self, replica: ReplicaView) -> None:
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
            self._on_change(self.view)

    def _store_view(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the servers
            self._state_dir.write_view(self.view)

    async def _write(self) -> None:
        """Store the status periodically, for `status`, and rotate large logs."""
        loop = asyncio.get_running_loop()
        cut_at = loop.time() + CUT_SECONDS
        while True:
            if self.view.requests != self._pool.requests:
                self._update(requests=self._pool.requests)
            if self._changed:
                self._changed = False
                self._store_view()
            if loop.time() > cut_at:
                cut_at = loop.time() + CUT_SECONDS
                for log in self._state_dir.logs().values():
                    with contextlib.suppress(OSError):
                        await asyncio.to_thread(state_dirs.cut, log)
            await asyncio.sleep(WRITE_SECONDS)
