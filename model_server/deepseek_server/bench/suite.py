"""All rows of a profile on one server, from making the model to the table."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_server.bench import rows, start
from deepseek_server.bench.failures import BenchError
from deepseek_server.bench.measure import Measured
from deepseek_server.bench.progress import bar, say
from deepseek_server.bench.serving import Command, Running, running


@dataclass(frozen=True)
class Suite:
    """What is measured.

    Attributes:
        profile: whose goals count.
        directory: of the model.
        rows: names, in order.
        baseline: another server's command, measured on the closed rows in `against`; or None.
        against: rows on which both are compared.
        budget: seconds after which a row is cut.
        processes: how many send the load.
        logs: the directory for the servers' output.
    """

    profile: str
    directory: Path
    rows: Sequence[str]
    command: Command
    baseline: Command | None = None
    against: Sequence[str] = ()
    budget: float = 60.0
    processes: int = 1
    logs: Path = Path()

    def run(self, done: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Measure everything.

        A row that fails is told as such, and the others are measured all the same.

        Args:
            done: told of all results so far, after each row.
        """
        began = time.monotonic()
        results: dict[str, Any] = {"profile": self.profile, "rows": {}, "baseline": {}}

        def put(section: str, row: str, figures: dict[str, Any]) -> None:
            results[section][row] = figures
            say(f"{section} {row}: {json.dumps(figures)[:400]}")
            results["seconds"] = round(time.monotonic() - began, 1)
            done(results)

        self._ours(lambda row, figures: put("rows", row, figures))
        if self.baseline is not None:
            self._theirs(self.baseline, lambda row, figures: put("baseline", row, figures))
        results["table"] = table(results)
        results["seconds"] = round(time.monotonic() - began, 1)
        done(results)
        return results

    def _ours(self, put: Callable[[str, dict[str, Any]], object]) -> None:
        reading = self._read() if "start" in self.rows else None
        with running(self.command, self.logs / "server.log") as server:
            measured = self._measured(server)
            first = measured.first_token() - server.started
            say(f"ready after {server.ready - server.started:.1f} s")
            if reading is not None:
                put("start", _started(first, server, reading))
            measured.warm_up()
            for row in self.rows:
                if row != "start":
                    put(row, _guarded(measured, row))

    def _theirs(self, baseline: Command, put: Callable[[str, dict[str, Any]], object]) -> None:
        with running(baseline, self.logs / "baseline.log") as server:
            measured = self._measured(server)
            measured.warm_up()
            for row in (row for row in self.rows if row in self.against):
                put(row, _guarded(measured, row))

    def _measured(self, server: Running) -> Measured:
        config = json.loads((self.directory / "config.json").read_bytes())
        # Special tokens come after the plain ones in the vocabularies that are made here.
        vocabulary = min(config["bos_token_id"], config["eos_token_id"])
        return Measured(
            server.target,
            vocabulary,
            config["max_position_embeddings"],
            self.budget,
            self.processes,
        )

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


def _guarded(measured: Measured, row: str) -> dict[str, Any]:
    try:
        if (number := rows.at_once(row)) is not None:
            measured.warm_up(number)
            return measured.closed(number)
        return measured.mixed() if row == "mixed" else measured.prefix()
    except BenchError as error:
        return {"error": str(error)}


def table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each figure that has a goal or a rival."""
    lines = []
    for row, figures in results["rows"].items():
        goal = rows.goal(results["profile"], row)
        name = goal.figure if goal else rows.RATE
        lines.append(_line(row, name, figures.get(name), goal))
    for row, theirs in results["baseline"].items():
        ours, other = (f.get(rows.RATE) for f in (results["rows"].get(row, {}), theirs))
        ratio = round(ours / other, 3) if ours and other else None
        lines.append(
            _line(f"{row} to baseline", rows.BASELINE_GOAL.figure, ratio, rows.BASELINE_GOAL)
        )
    return lines


def _line(row: str, figure: str, value: float | None, goal: rows.Goal | None) -> dict[str, Any]:
    line = {"row": row, "figure": figure, "value": value}
    if goal is not None:
        line |= {"floor": round(goal.floor, 4), "aim": round(goal.aim, 4)}
        line["reached"] = "failed" if value is None else goal.verdict(value)
    return line


COLUMNS = ("row", "figure", "value", "floor", "aim", "reached")


def as_text(lines: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown."""
    cells = [COLUMNS, *([str(line.get(name, "")) for name in COLUMNS] for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])
