"""Is what lies between the ranks of a gang fast enough? Found out before weights are read.

A model over several pods that falls back to a slow network works, at a tenth of its speed and
without a word. So the ranks time what they will do all the time, an all-reduce, and where that is
slower than was asked for they look for the two hosts between which it is slowest.

Every rank computes the same verdict from what all have measured.
"""

import itertools
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch

from deepseek_server.config import Preflight
from deepseek_server.distributed import transport
from deepseek_server.distributed.process_group import Group
from deepseek_server.distributed.rank_info import Team
from deepseek_server.engine.ipc import Met, SlowestPair
from deepseek_server.errors import GangError

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]

# Large enough that the time is that of the bytes, small enough for a network of 1 Gbit/s.
ALL_REDUCE_BYTES = {"cpu": 2**20, "cuda": 2**26}
PAIR_BYTES = {"cpu": 2**19, "cuda": 2**24}
WARM_UP, ROUNDS = 3, 9


def preflight(group: Group, device: Device, team: Team) -> Met:
    """Time the network, and say in the log what was found; all ranks must call it.

    Raises:
        GangError: it is slower than the configuration asks for, and that is to end the start; or
            nothing comes through.
    """
    try:
        return _look(group, device, team)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GangError(
            f"{team.named(group.rank)} cannot exchange tensors with the other ranks ({reason}): "
            "check the network of these nodes; with NCCL_DEBUG=INFO the log says more"
        ) from error


def _look(group: Group, device: Device, team: Team) -> Met:
    speed = _all_reduce_speed(group, device)
    way = _transport(group, device, team)
    asked = team.gang.preflight
    pair: SlowestPair | None = None
    if too_slow(speed, asked):
        pair = slowest_pair(_pairs(group, device, team))
    problem = verdict(speed, way, pair, team)
    told = (
        f"the {group.size} ranks on {' and '.join(dict.fromkeys(team.hosts))} have met: "
        f"all-reduce {speed:.3g} GB/s over {way}"
    )
    if group.rank == 0:
        log.log(logging.WARNING if problem else logging.INFO, "%s", problem or told)
    if device == "cuda":
        torch.cuda.empty_cache()  # the model may need all there is
    if problem and asked.policy == "fail":
        raise GangError(problem)
    return Met(way, speed, pair, problem)


def bandwidth(count: int, seconds: float) -> float:
    """Algorithm bandwidth in GB/s (10^9 bytes): S / t.

    S are the bytes of the tensor that each rank has, t is the time of the operation. The formula
    and the name are those of NVIDIA's nccl-tests (doc/PERFORMANCE.md, "Algorithm bandwidth"), so
    the figure can be compared with the column algbw of all_reduce_perf.
    """
    return count / seconds / 1e9


def too_slow(speed: float, asked: Preflight) -> bool:
    """Whether a bandwidth in GB/s is less than was asked for."""
    return asked.min_gigabytes_per_second is not None and speed < asked.min_gigabytes_per_second


def slowest_pair(pairs: Sequence[SlowestPair]) -> SlowestPair | None:
    """The slowest of some pairs; None where all ranks are on one host."""
    return min(pairs, key=lambda pair: pair.gigabytes_per_second, default=None)


def verdict(speed: float, way: str, pair: SlowestPair | None, team: Team) -> str:
    """What is wrong with the network, and what to do; empty where it is as asked for."""
    asked = team.gang.preflight
    if not too_slow(speed, asked):
        return ""
    where = ""
    if pair is not None:
        first, second = pair.hosts
        where = f", slowest between {first} and {second} ({pair.gigabytes_per_second:.3g} GB/s)"
    return (
        f"the network between the pods is too slow: an all-reduce over {len(team.hosts)} ranks "
        f"reaches {speed:.3g} GB/s over {way}{where}, and gang.preflight.minGigabytesPerSecond "
        f"asks for {asked.min_gigabytes_per_second:g}: check the network of these nodes, or lower "
        "that number, or set gang.preflight.policy to warn"
    )


def _all_reduce_speed(group: Group, device: Device) -> float:
    """The algorithm bandwidth of an all-reduce in GB/s, the least that a rank has found."""
    tensor = torch.ones(ALL_REDUCE_BYTES[device] // 4, device=device)
    seconds = _median(lambda: group.all_reduce(tensor.fill_(1.0)), device)
    return bandwidth(tensor.nbytes, max(group.gather(seconds)))


def _median(operation: Callable[[], object], device: Device) -> float:
    """The seconds that an operation takes, as the median of some rounds after a few others."""
    times = []
    for _ in range(WARM_UP + ROUNDS):
        _finish(device)
        began = time.perf_counter()
        operation()
        _finish(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[WARM_UP:])


def _finish(device: Device) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _transport(group: Group, device: Device, team: Team) -> str:
    if device == "cpu":
        return "tcp"  # gloo has no other
    return transport.slowest(group.gather(transport.of_process(team.directory, os.getpid())))


def _pairs(group: Group, device: Device, team: Team) -> list[SlowestPair]:
    """How fast tensors travel between the hosts, two at a time while the others wait."""
    pairs = []
    tensor = torch.ones(PAIR_BYTES[device] // 4, device=device)
    for first, second in pairs_of_pods(team.gang.pods, group.size):
        seconds = 0.0
        if group.rank == first:
            seconds = _median(partial(_there_and_back, group, tensor, second), device)
        elif group.rank == second:
            _median(partial(_back, group, tensor, first), device)
        taken = max(group.gather(seconds)) / 2
        hosts = team.hosts[first], team.hosts[second]
        pairs.append(SlowestPair(hosts, bandwidth(tensor.nbytes, taken)))
    return pairs


def pairs_of_pods(pods: int, ranks: int) -> Iterator[tuple[int, int]]:
    """The first ranks of every two pods."""
    return itertools.combinations(range(0, ranks, ranks // pods), 2)


def _there_and_back(group: Group, tensor: torch.Tensor, other: int) -> None:
    group.send(tensor, other)
    group.receive(tensor, other)


def _back(group: Group, tensor: torch.Tensor, other: int) -> None:
    group.receive(tensor, other)
    group.send(tensor, other)
