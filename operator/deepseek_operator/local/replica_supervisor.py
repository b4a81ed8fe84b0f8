"""Supervision of one replica: start its server, probe it, restart it with backoff or give up."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from deepseek_operator.local import restarts
from deepseek_operator.local.process import End, Health, Server
from deepseek_operator.local.view import Ended, ReplicaView

LOOK_SECONDS = 0.5
# A server opens its port immediately, but starting a program takes long on a busy machine. A server
# that responded before and no longer does is stuck. The limits match the pod's kubelet probes.
OPEN_SECONDS, SILENT_SECONDS = 180.0, 60.0
# Time for a server to stop its engine after the drain.
ENDING_SECONDS = 20.0
DEAD = "dead"

Launch = Callable[[], Awaitable[Server]]
OnChange = Callable[[ReplicaView], None]


class ReplicaSupervisor:
    """The supervisor of one replica.

    Args:
        view: Initial status.
        launch: Starts the server.
        on_change: Callback for every status change.
        jitter: Random number from 0 to 1, for the jitter of restarts.
    """

    def __init__(
        self,
        view: ReplicaView,
        launch: Launch,
        on_change: OnChange,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.view = view
        self._launch, self._on_change, self._jitter = launch, on_change, jitter
        self._server: Server | None = None
        self._leaving = asyncio.Event()
        self._exited = False

    async def run(self) -> None:
        """Run the replica until it is stopped or restarts are given up."""
        while not self._leaving.is_set():
            self._update(phase="starting", detail="starting", starts=self.view.starts + 1)
            end, why, steady = await self._one_life()
            if self._leaving.is_set():
                break
            failures = 1 if steady else self.view.failures + 1
            decision = restarts.decide(end.code, end.last_words, failures, self._jitter())
            self._ended(end, why, failures)
            if isinstance(decision, restarts.Stop):
                self._update(phase="stopped", detail=decision.why)
                return
            self._update(
                phase="pausing",
                detail=f"Restarting in {decision.seconds:.1f} s ({failures} of {restarts.BUDGET}).",
            )
            await _first(self._leaving.wait(), decision.seconds)
        self._update(phase="stopped", detail="stopped on request")

    async def _one_life(self) -> tuple[End, str, bool]:
        """Start a server and watch it until it exits.

        Returns:
            How it exited, why we killed it (empty if we did not), and whether it ran long enough to
            reset the restart budget.
        """
        try:
            server = await self._launch()
        except OSError as error:
            return End(1, f"could not be started ({error})"), "", False
        self._server, self._exited = server, False
        if self._leaving.is_set():  # stop was requested while the server was starting
            server.terminate()
        self._update(port=server.port, pid=server.pid)
        ending = asyncio.create_task(self._end_of(server))
        try:
            why, steady = await self._look_after(server, ending)
            end = await ending
        finally:
            ending.cancel()
            self._server = None
        self._update(port=None, pid=None, loaded_bytes=0, total_bytes=0, seconds_left=None)
        return end, why, steady

    async def _end_of(self, server: Server) -> End:
        await server.exited()
        self._exited = True
        self._update(phase="starting", detail="has exited")  # so that it gets no more requests
        return await server.ended()

    async def _look_after(self, server: Server, ending: "asyncio.Task[End]") -> tuple[str, bool]:
        """Probe a server until it exits, and kill it if only a restart can help."""
        time = asyncio.get_running_loop().time
        last_response, patience = time(), OPEN_SECONDS
        served_since: float | None = None
        while not ending.done():
            await asyncio.wait({ending}, timeout=LOOK_SECONDS)
            if ending.done():
                break
            health = await server.ask()
            if health is not None:
                last_response, patience = time(), SILENT_SECONDS
                if health.status == "ready" and served_since is None:
                    served_since = time()
                self._record_health(health)
            why = _hopeless(health, time() - last_response, patience)
            if why and not self._leaving.is_set():
                self._update(phase="starting", detail=why)
                server.kill()
                await asyncio.wait({ending})
                return why, _steady(served_since, time())
        return "", _steady(served_since, time())

    def _record_health(self, health: Health) -> None:
        if self._exited or health.status == DEAD:
            return
        phase = {"ready": "ready", "draining": "draining"}.get(health.status, "loading")
        self._update(
            phase=phase,
            detail=health.detail,
            loaded_bytes=health.loaded_bytes,
            total_bytes=health.total_bytes,
            seconds_left=health.seconds_left,
        )

    def _ended(self, end: End, why: str, failures: int) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        message = "was killed" if why else end.words
        causes = filter(None, (why, _cause(end)))
        ended = Ended(at=now, code=end.code, words=message, why=": ".join(causes), log=end.log)
        self._update(ended=ended, failures=failures)

    def _update(self, **changed: object) -> None:
        after = self.view.model_copy(update=changed)
        if after != self.view:
            self.view = after
            self._on_change(after)

    async def stop(self, seconds: float) -> None:
        """Drain and stop the server; kill it if that takes too long.

        Args:
            seconds: Drain timeout.
        """
        self._leaving.set()
        if self._server is None:
            return
        server = self._server
        server.terminate()
        deadline = asyncio.get_running_loop().time() + seconds + ENDING_SECONDS
        while self._server is server:
            if asyncio.get_running_loop().time() >= deadline:
                self.kill()
                return
            await asyncio.sleep(LOOK_SECONDS / 5)

    def kill(self) -> None:
        """Kill the server and stop restarting it."""
        self._leaving.set()
        if self._server is not None:
            self._server.kill()


def _hopeless(health: Health | None, silent: float, patience: float) -> str:
    """Return the reason why only a restart can help; empty if there is none."""
    if health is not None and health.status == DEAD:
        return health.detail
    if silent > patience:
        return f"no response for {silent:.0f} s"
    return ""


def _steady(served_since: float | None, now: float) -> bool:
    return served_since is not None and now - served_since >= restarts.STEADY_SECONDS


def _cause(end: End) -> str:
    """Return the server's own report of the failure, else the last error in its log."""
    if end.last_words:
        return end.last_words
    errors = [line for line in end.log if " ERROR " in line]
    return errors[-1].partition(" ERROR ")[2].partition(": ")[2] if errors else ""


async def _first(awaited: Awaitable[object], seconds: float) -> None:
    """Wait for an awaitable, at most for the given seconds."""
    try:
        await asyncio.wait_for(awaited, seconds)
    except TimeoutError:
        return
