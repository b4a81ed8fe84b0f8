"""Load from several processes, for servers that are faster than one process can read.

Each process sends its share of the requests. All start at the same time, by the monotonic clock
that the processes of a machine share.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context

from benchmarks.server.client.load import Closed, Open, run
from benchmarks.server.client.target import Target
from benchmarks.server.client.timing import Timing, timing

HEAD_START_SECONDS = 0.2  # to pass the requests to all processes


def timings(
    target: Target,
    load: Closed | Open,
    processes: int = 1,
    step: Callable[[int], object] = lambda _: None,
) -> list[Timing]:
    """Run a load; return the timings of its requests in the order of sending.

    Args:
        target: the server.
        load: the load.
        processes: number of processes that share the load.
        step: called with the number of requests that have ended since the last call.
    """
    parts = share(load, processes)
    if len(parts) == 1:
        return [timing(exchange) for exchange in run(target, load, lambda _: step(1))]
    found: list[Timing] = []
    with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn")) as pool:
        list(pool.map(_idle, range(len(parts))))  # wait until all processes have started
        start = time.monotonic() + HEAD_START_SECONDS
        for future in as_completed([pool.submit(_part, target, part, start) for part in parts]):
            found += future.result()
            step(len(future.result()))
    return sorted(found, key=lambda timing: timing.sent)


def share(load: Closed | Open, processes: int) -> list[Closed] | list[Open]:
    """Split a load into at most `processes` parts that together are equal to it."""
    if isinstance(load, Open):
        return [
            replace(load, messages=load.messages[n::processes], starts=load.starts[n::processes])
            for n in range(min(processes, len(load.messages)))
        ]
    count = min(processes, load.at_once, len(load.messages))
    return [
        replace(
            load,
            messages=load.messages[n::count],
            at_once=load.at_once // count + (n < load.at_once % count),
        )
        for n in range(count)
    ]


def _idle(_: int) -> None:
    time.sleep(0.05)  # long enough that no process gets two of these calls


def _part(target: Target, load: Closed | Open, start: float) -> list[Timing]:
    time.sleep(max(0.0, start - time.monotonic()))
    return [timing(exchange) for exchange in run(target, load)]
