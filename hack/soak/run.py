"""Run of the scenarios with many concurrent clients, and evaluation of the results."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from hack.models.tiny import make_tiny
from hack.soak.book import Entry, write
from hack.soak.scenarios import CONTEXT, SCENARIOS, Client, WrongError
from hack.soak.watch import Memory, idle, metrics
from tests.support.server_process import ServerProcess

WARM_UP = 0.2  # share of the time
LOOK_SECONDS = 0.5
IDLE_SECONDS = 20.0
ANSWER_SECONDS = 120.0  # after which a request counts as lost
GROWTH_BYTES = 64 * 2**20
KEPT = 20  # number of reported complaints
# Answers, refusals, and what a client that leaves does not see.
EXPECTED = {f"status {status}" for status in (200, 400, 404, 499)}


@dataclass
class Course:
    """Events of the run so far."""

    played: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)

    def complain(self, sentence: str) -> None:
        """Record a failed check."""
        if len(self.complaints) < KEPT:
            self.complaints.append(sentence[:500])


@dataclass(frozen=True)
class Plan:
    """Settings of a run.

    Attributes:
        seconds: duration.
        clients: number of concurrent clients.
        prompts: number of prompts with known answers.
        length: tokens of these answers.
        seed: determines everything except the timing.
        family: family of the model.
    """

    seconds: float
    clients: int = 32
    prompts: int = 24
    length: int = 96
    seed: int = 0
    family: str = "llama"


def soak(
    plan: Plan, directory: Path, tick: Callable[[int], object] = lambda _: None
) -> dict[str, Any]:
    """Run a plan in its own directory and return the results.

    Args:
        plan: the settings.
        directory: the directory of the model and the log.
        tick: called for every second that has passed.
    """
    model, random = make_tiny(plan.family, directory / "tiny"), Random(plan.seed)
    book = write(model, random, plan.prompts, plan.length)
    course = Course()
    flags = ("--max-context", str(CONTEXT))
    with ServerProcess(model, directory / "log", *flags, module="hack.soak.server") as server:
        count = len(server.wait_until_ready().processes())
        asyncio.run(_play(plan, server, book, course, tick))
        rest = _rest(server)
        course.memory.look(server, warm=True)
        found = metrics(server)
        _judge(course, rest, found)
        if len(server.processes()) != count:
            course.complain(f"there were {count} processes, now {len(server.processes())}")
        server.terminate()
        if server.left_after(IDLE_SECONDS) or server.popen.returncode != 0:
            course.complain(f"the server exited with an unexpected code: {server.popen.returncode}")
        for line in server.log.splitlines():
            if " ERROR " in line or line.startswith("Traceback"):
                course.complain(f"error in the log: {line}")
    return {
        "passed": not course.complaints,
        "complaints": course.complaints,
        "seconds": plan.seconds,
        "clients": plan.clients,
        "played": dict(sorted(course.played.items())),
        "statuses": {k: int(v) for k, v in sorted(found.items()) if k.startswith("status ")},
        "generated_tokens": int(found["generation_tokens_total"]),
        "prompt_tokens": int(found["prompt_tokens_total"]),
        "found_in_cache": int(found["prefix_cache_hits_total"]),
        "preemptions": int(found["num_preemptions_total"]),
        "idle": rest,
        "processes": count,
        "rss_mib_after_warm_up": [size >> 20 for size in course.memory.begin],
        "rss_mib_at_the_end": [size >> 20 for size in course.memory.end],
    }


async def _play(
    plan: Plan,
    server: ServerProcess,
    book: list[Entry],
    course: Course,
    tick: Callable[[int], object],
) -> None:
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.url, timeout=ANSWER_SECONDS, limits=limits
    ) as http:
        clients = [
            asyncio.create_task(
                _client(Client(http, book, Random(f"{plan.seed}/{number}")), number, plan, course)
            )
            for number in range(plan.clients)
        ]
        passed = 0
        while any(not client.done() for client in clients):
            elapsed = time.monotonic() - began
            course.memory.look(server, warm=elapsed > WARM_UP * plan.seconds)
            if not server.workers():
                course.complain("the engine has exited")
                break
            tick(int(elapsed) - passed)
            passed = int(elapsed)
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.gather(*clients)


async def _client(client: Client, number: int, plan: Plan, course: Course) -> None:
    """Run one scenario after the other until the end; the first ones in rotation."""
    scenarios, weights = list(SCENARIOS), list(SCENARIOS.values())
    end = time.monotonic() + plan.seconds
    scenario = scenarios[number % len(scenarios)]
    while time.monotonic() < end:
        try:
            await scenario(client)
        except (WrongError, httpx.HTTPError) as error:
            course.complain(f"{scenario.__name__}: {type(error).__name__}: {error}")
        course.played[scenario.__name__] += 1
        (scenario,) = client.random.choices(scenarios, weights)


def _rest(server: ServerProcess) -> dict[str, float]:
    """Return the gauges that are not zero some time after the last request."""
    deadline = time.monotonic() + IDLE_SECONDS
    while any((rest := idle(server)).values()) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return rest


def _judge(course: Course, rest: dict[str, float], found: dict[str, Any]) -> None:
    if any(rest.values()):
        course.complain(f"the server is not idle after the last request: {rest}")
    if course.memory.growth > GROWTH_BYTES:
        course.complain(f"a process grew by {course.memory.growth >> 20} MiB")
    for name, count in found.items():
        if name.startswith("status ") and name not in EXPECTED:
            course.complain(f"{int(count)} answers had {name}")
