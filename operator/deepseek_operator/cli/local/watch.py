"""Progress output while servers start, run and stop."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from deepseek_operator.cli.output import warn, write
from deepseek_operator.local.view import ReplicaView, View

# Number of log lines shown of a server that has exited.
LINES = 5
# Interval, in percent, of load progress lines without a terminal.
STEP = 25


class Watch:
    """Progress output: called with every change, shows bars on a terminal and lines elsewhere.

    Args:
        hint: How to stop it, printed once it is ready.

    Attributes:
        ready: True once all replicas have been ready at the same time.
    """

    def __init__(self, hint: str) -> None:
        self._hint = hint
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[far]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._bars: dict[int, TaskID] = {}
        self._steps: dict[int, str] = {}
        self._printed: dict[int, str] = {}
        self._ending = False
        self._failed = False
        self.ready = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:  # elsewhere stopping it would print something
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def settled(self) -> bool:
        """True if all replicas are ready or have failed."""
        return self.ready or self._failed

    def __call__(self, view: View) -> None:
        """Print the changes since the last call."""
        for replica in view.replicas:
            self._show(replica, view.asked_to_end)
        if view.state == "Ready" and not self.ready:
            self.ready = True
            self._stop()
            count = len(view.replicas)
            what = f"{count} replicas, each on " if count > 1 else ""
            write(
                f"{view.name} is ready at {view.endpoint}/v1, model name {view.served_name} "
                f"({what}{view.runs_on}). {self._hint}\n"
            )
            sys.stdout.flush()
        self._failed = view.state == "Failed"
        if view.asked_to_end and not self._ending:
            self._ending = True
            running = {0: "no running requests", 1: "1 running request"}.get(
                view.requests, f"{view.requests} running requests"
            )
            self._say(f"Draining: {running}. Ctrl-C stops immediately.")

    def _show(self, replica: ReplicaView, asked_to_end: bool) -> None:
        key = _key(replica)
        if replica.phase in ("pausing", "stopped") and not asked_to_end:
            if self._printed.get(replica.index) != key:
                lines = replica.ended.log[-LINES:] if replica.ended else ()
                self._say("".join([str(replica), *(f"\n  {line}" for line in lines)]))
        elif not self.ready and self._console.is_terminal:
            self._bar(replica)
        elif self._printed.get(replica.index) != key and not asked_to_end:
            self._say(str(replica))
        self._printed[replica.index] = key

    def _bar(self, replica: ReplicaView) -> None:
        step, _, far = replica.detail.partition(": ")
        if step != self._steps.get(replica.index):  # the total of a bar can't be unset
            if replica.index in self._bars:
                self._progress.remove_task(self._bars[replica.index])
            self._steps[replica.index] = step
            self._bars[replica.index] = self._progress.add_task(
                f"replica {replica.index}: {step}", total=replica.total_bytes or None, far=far
            )
        self._progress.update(
            self._bars[replica.index],
            completed=replica.loaded_bytes,
            total=replica.total_bytes or None,
            far=far,
        )

    def _stop(self) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def _say(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(text, markup=False)
        else:
            warn(text)


def _step(replica: ReplicaView) -> str:
    """Return the current step of a replica without its progress."""
    return replica.detail.partition(":")[0] or replica.phase


def _key(replica: ReplicaView) -> str:
    """Return a key that changes when there is something to report."""
    if replica.phase in ("pausing", "stopped"):
        return f"{replica.phase} {replica.starts}"
    share = 100 * replica.loaded_bytes // replica.total_bytes // STEP if replica.total_bytes else 0
    return f"{replica.phase} {_step(replica)} {share}"
