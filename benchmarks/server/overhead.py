"""What a server adds to the model: engine, sampling, texts and HTTP, per token.

With so many requests at once, a step of the server gives each of them a token; the time between
two tokens of one request is therefore that of a step. Taken from it: a step of the bare model of
the same size and context. What is left, divided by the tokens of the step, is the server's own.

The same is told in CPU time of all the server's processes, which other work on the machine does
not change much. From the CPU time of a load that of another with answers of one token is taken, so
that prompts do not count.

All of the server and the bare model can be put on one core of the CPU, so that nothing that the
server does is hidden behind the model.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.server.client.prompts import Length
from benchmarks.server.client.workloads import Lengths, Workloads
from benchmarks.server.cpu_time import of_tree
from benchmarks.server.failures import BenchError
from benchmarks.server.report.summary import RATE
from benchmarks.server.serving import Command, Running, running

LENGTHS = Lengths(Length(64), Length(128))
SHORT = Lengths(Length(64), Length(1))
ROUNDS = 2
PAIRS = 5
PAIR_REQUESTS = 3


def pinned(command: Command, core: int | None) -> Command:
    """The same command, on one core of the CPU, or on all of them where it is None."""
    if core is None:
        return command
    return replace(command, arguments=(*_on_core(core), *command.arguments))


def _on_core(core: int) -> tuple[str, ...]:
    return ("taskset", "--cpu-list", str(core))


@dataclass(frozen=True)
class Overhead:
    """What is measured.

    Attributes:
        directory: of the model.
        device: where it is computed.
        vocabulary: prompts are made of tokens below this one.
        context: tokens of a prompt and its answer together at most.
        logs: the directory for the servers' output.
        extra: more fields for each request.
        core: of the CPU, which the servers and the bare model run on; None: all.
    """

    directory: Path
    device: str
    vocabulary: int
    context: int
    logs: Path
    extra: Mapping[str, Any] = field(default_factory=dict)
    core: int | None = None

    def measure(self, command: Command, at_once: int) -> dict[str, Any]:
        """A server's own time per token with so many requests at once."""
        with self._running(command, "server.log") as server:
            figures = self._load(server, at_once, ROUNDS * at_once)
        bare = self._bare(at_once)
        of_step = figures["itl_ms"]["p50"]
        own_cpu = figures["cpu_ms_per_token"] - bare["step_cpu_ms"] / at_once
        return {
            "at_once": at_once,
            "overhead_ms_per_token": round((of_step - bare["step_ms"]) / at_once, 4),
            "overhead_cpu_ms_per_token": round(own_cpu, 4),
            "bare": bare,
            "server": figures,
        }

    def compare(self, command: Command, baseline: Command) -> dict[str, Any]:
        """One request at once on two servers, by turns, so that both meet the same neighbours."""
        with (
            self._running(command, "server.log") as ours,
            self._running(baseline, "baseline.log") as theirs,
        ):
            pairs = [
                (self._load(ours, 1, PAIR_REQUESTS), self._load(theirs, 1, PAIR_REQUESTS))
                for _ in range(PAIRS)
            ]
        names = (RATE, "cpu_ms_per_token")
        return {
            "ours": {name: median(one[name] for one, _ in pairs) for name in names},
            "baseline": {name: median(other[name] for _, other in pairs) for name in names},
            "ratio": {
                name: round(median(one[name] / other[name] for one, other in pairs), 3)
                for name in names
            },
        }

    def _running(self, command: Command, log: str) -> AbstractContextManager[Running]:
        return running(pinned(command, self.core), self.logs / log)

    def _load(self, server: Running, at_once: int, count: int) -> dict[str, Any]:
        target = replace(server.target, extra=dict(self.extra))
        workloads = Workloads(target, self.vocabulary, self.context)
        workloads.warm_up(at_once, prompt=False)
        times = [of_tree(server.pid)]
        short = workloads.closed(at_once, count, SHORT)
        times.append(of_tree(server.pid))
        figures = workloads.closed(at_once, count, LENGTHS)
        times.append(of_tree(server.pid))
        more = (times[2] - times[1]) - (times[1] - times[0])
        tokens = figures["output_tokens"] - short["output_tokens"]
        return {"cpu_ms_per_token": round(1e3 * more / tokens, 4), **figures}

    def _bare(self, at_once: int) -> dict[str, Any]:
        """A step of the bare model, in the middle of the answers.

        Raises:
            BenchError: it cannot be measured.
        """
        context = LENGTHS.input.mean + LENGTHS.output.mean // 2
        command = [
            *(() if self.core is None else _on_core(self.core)),
            *(sys.executable, "-m", "benchmarks.server", "forward", str(self.directory)),
            *("--device", self.device, "-n", str(at_once), "--context", str(context)),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            lines = ended.stderr.strip().splitlines()[-5:]
            raise BenchError(f"the bare model could not be measured: {' '.join(lines)}")
        step: dict[str, Any] = json.loads(ended.stdout)
        return step
