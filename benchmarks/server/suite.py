"""The benchmark suite: all rows of a profile on one server, from its start to the table."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.server import start
from benchmarks.server.accelerators import Accelerator
from benchmarks.server.client.prompts import vocabulary
from benchmarks.server.client.workloads import Workloads
from benchmarks.server.failures import BenchError
from benchmarks.server.progress import bar, say
from benchmarks.server.report import rows, table
from benchmarks.server.report.summary import RATE
from benchmarks.server.roofline import closed_limit
from benchmarks.server.serving import Command, Running, running

Put = Callable[[str, dict[str, Any]], object]


@dataclass(frozen=True)
class Suite:
    """Settings of a suite.

    Attributes:
        profile: the profile whose goals apply.
        directory: directory of the model.
        rows: names of the rows, in order.
        command: the command that starts the server.
        baseline: the command of another server, measured on the rows in `against`; or None.
        against: closed rows on which both servers are compared.
        accelerator: the accelerator whose limits are reported for closed rows; or None.
        budget: seconds after which a row is cut off.
        processes: number of processes that send the load.
        extra: additional fields of each request.
        logs: the directory for the servers' output.
    """

    profile: str
    directory: Path
    rows: Sequence[str]
    command: Command
    baseline: Command | None = None
    against: Sequence[str] = ()
    accelerator: Accelerator | None = None
    budget: float = 60.0
    processes: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)
    logs: Path = Path()

    def run(self, done: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, Any]:
        """Measure all rows.

        A row that fails is reported as failed, and the others are still measured.

        Args:
            done: called with all results so far, after each row.

        Raises:
            BenchError: the server does not start.
        """
        began = time.monotonic()
        results: dict[str, Any] = {"profile": self.profile, "rows": {}, "baseline": {}}

        def put(section: str, row: str, figures: dict[str, Any]) -> None:
            results[section][row] = figures
            results["table"] = table.lines(results)
            results["seconds"] = round(time.monotonic() - began, 1)
            say(f"{section} {row}: {json.dumps(figures)[:400]}")
            done(results)

        self._ours(lambda row, figures: put("rows", row, figures))
        if self.baseline is not None:
            self._theirs(self.baseline, lambda row, figures: put("baseline", row, figures))
        return results

    def _ours(self, put: Put) -> None:
        reading = self._read() if "start" in self.rows else None
        with running(self.command, self.logs / "server.log") as server:
            workloads = self._workloads(server)
            first = workloads.first_token() - server.started
            say(f"ready after {server.ready - server.started:.1f} s")
            if reading is not None:
                put("start", _started(first, server, reading))
            workloads.warm_up()
            for row in self.rows:
                if row != "start":
                    put(row, self._limited(row, _guarded(workloads, row)))

    def _theirs(self, baseline: Command, put: Put) -> None:
        compared = [row for row in self.rows if row in self.against]
        try:
            with running(baseline, self.logs / "baseline.log") as server:
                workloads = self._workloads(server)
                workloads.warm_up()
                for row in compared:
                    # One round: the baseline takes several times as long.
                    put(row, _guarded(workloads, row, rounds=1))
        except BenchError as error:
            for row in compared:
                put(row, {"error": str(error)})

    def _workloads(self, server: Running) -> Workloads:
        config = self._config()
        return Workloads(
            replace(server.target, extra=dict(self.extra)),
            vocabulary=vocabulary(config),
            context=config["max_position_embeddings"],
            budget=self.budget,
            processes=self.processes,
        )

    def _limited(self, row: str, figures: dict[str, Any]) -> dict[str, Any]:
        """Return a closed row's figures with the limits of the accelerator."""
        number = rows.at_once(row)
        if self.accelerator is None or number is None or "error" in figures:
            return figures
        lengths = (rows.LENGTHS.input.mean, rows.LENGTHS.output.mean)
        try:
            limit = closed_limit(self._config(), self.accelerator, number, *lengths)
        except BenchError as error:
            say(str(error))
            return figures
        share = round(figures[RATE] / limit[RATE], 4)
        return {**figures, "limit": limit, "share_of_limit": share}

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.directory / "config.json").read_bytes())
        return config

    def _read(self) -> float:
        files = start.weights(self.directory)
        start.forget(files)
        with bar("reading", sum(file.stat().st_size for file in files), "B") as step:
            seconds = start.read(files, step)
        start.forget(files)
        return seconds


def _started(first: float, server: Running, reading: float) -> dict[str, Any]:
    return {
        "to_reading": round(first / reading, 3),
        "reading_seconds": round(reading, 3),
        "ready_seconds": round(server.ready - server.started, 3),
        "first_token_seconds": round(first, 3),
    }


def _guarded(workloads: Workloads, row: str, rounds: int | None = None) -> dict[str, Any]:
    try:
        if (number := rows.at_once(row)) is not None:
            workloads.warm_up(number, prompt=False)
            rounds = rounds or rows.ROUNDS.get(number, rows.FEWEST_ROUNDS)
            return workloads.closed(number, number * rounds, rows.LENGTHS)
        if row == "mixed":
            mixed = (rows.MIXED_SHARE, rows.MIXED_AT_ONCE, rows.MIXED_SECONDS, rows.MIXED)
            return workloads.at_share(*mixed)
        return workloads.again(rows.PREFIX)
    except BenchError as error:
        return {"error": str(error)}
