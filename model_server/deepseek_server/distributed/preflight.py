"""Preflight check of the network between the ranks of a gang, before weights are loaded.

A model over several pods that falls back to a slow network works at a tenth of its speed, without any
error. So the ranks time an all-reduce, their main operation. If it is slower than required, they
measure all pairs of hosts to find the slowest one.

Every rank computes the same verdict from the measurements of all.
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
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.engine.ipc import NetworkReport, SlowestPair
from deepseek_server.errors import GangError

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]

# Large enough that bandwidth dominates latency, small enough for a network of 1 Gbit/s.
ALL_REDUCE_BYTES = {"cpu": 2**20, "cuda": 2**26}
PAIR_BYTES = {"cpu": 2**19, "cuda": 2**24}
WARM_UP, ROUNDS = 3, 9


def preflight(group: Group, device: Device, gang_info: GangInfo) -> NetworkReport:
    """Measure the network and log the result; all ranks must call it.

    Raises:
        GangError: it is slower than the configuration requires and the policy is fail, or the ranks
            cannot exchange tensors.
    """
    try:
        return _measure(group, device, gang_info)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GangError(
            f"{gang_info.named(group.rank)} cannot exchange tensors with the other ranks ({reason}): "
            "check the network of these nodes; set NCCL_DEBUG=INFO for a detailed log"
        ) from error


def _measure(group: Group, device: Device, gang_info: GangInfo) -> NetworkReport:
    speed = _all_reduce_speed(group, device)
    way = _transport(group, device, gang_info)
    required = gang_info.gang.preflight
    pair: SlowestPair | None = None
    if too_slow(speed, required):
        pair = slowest_pair(_pairs(group, device, gang_info))
    problem = verdict(speed, way, pair, gang_info)
    summary = (
        f"the {group.size} ranks on {' and '.join(dict.fromkeys(gang_info.hosts))} have connected: "
        f"all-reduce {speed:.3g} GB/s over {way}"
    )
    if group.rank == 0:
        log.log(logging.WARNING if problem else logging.INFO, "%s", problem or summary)
    if device == "cuda":
        torch.cuda.empty_cache()  # the model may need all memory
    if problem and required.policy == "fail":
        raise GangError(problem)
    return NetworkReport(way, speed, pair, problem)


def bandwidth(count: int, seconds: float) -> float:
    """Return the algorithm bandwidth in GB/s (10^9 bytes): S / t.

    S are the bytes of the tensor that each rank has, t is the time of the operation. The formula
    and the name are those of NVIDIA's nccl-tests (doc/PERFORMANCE.md, "Algorithm bandwidth"), so
    the figure can be compared with the column algbw of all_reduce_perf.
    """
    return count / seconds / 1e9


def too_slow(speed: float, required: Preflight) -> bool:
    """Return whether a bandwidth in GB/s is lower than required."""
    return (
        required.min_gigabytes_per_second is not None and speed < required.min_gigabytes_per_second
    )


def slowest_pair(pairs: Sequence[SlowestPair]) -> SlowestPair | None:
    """Return the slowest of some pairs; None if there are none."""
    return min(pairs, key=lambda pair: pair.gigabytes_per_second, default=None)


def verdict(speed: float, way: str, pair: SlowestPair | None, gang_info: GangInfo) -> str:
    """Return what is wrong with the network and what to do; empty if it is fast enough."""
    required = gang_info.gang.preflight
    if not too_slow(speed, required):
        return ""
    where = ""
    if pair is not None:
        first, second = pair.hosts
        where = f", slowest between {first} and {second} ({pair.gigabytes_per_second:.3g} GB/s)"
    return (
        f"the network between the pods is too slow: an all-reduce over {len(gang_info.hosts)} ranks "
        f"reaches {speed:.3g} GB/s over {way}{where}, but gang.preflight.minGigabytesPerSecond "
        f"is {required.min_gigabytes_per_second:g}: check the network of these nodes, lower that "
        "number, or set gang.preflight.policy to warn"
    )


def _all_reduce_speed(group: Group, device: Device) -> float:
    """Return the algorithm bandwidth of an all-reduce in GB/s, the lowest of all ranks."""
    tensor = torch.ones(ALL_REDUCE_BYTES[device] // 4, device=device)
    seconds = _median(lambda: group.all_reduce(tensor.fill_(1.0)), device)
    return bandwidth(tensor.nbytes, max(group.all_gather_object(seconds)))


def _median(operation: Callable[[], object], device: Device) -> float:
    """Return the median duration of an operation in seconds, after some warm-up rounds."""
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


def _transport(group: Group, device: Device, gang_info: GangInfo) -> str:
    if device == "cpu":
        return "tcp"  # gloo's only transport
    return transport.slowest(
        group.all_gather_object(transport.of_process(gang_info.directory, os.getpid()))
    )


def _pairs(group: Group, device: Device, gang_info: GangInfo) -> list[SlowestPair]:
    """Return the bandwidth of every pair of pods, measured one pair at a time."""
    pairs = []
    tensor = torch.ones(PAIR_BYTES[device] // 4, device=device)
    for first, second in pairs_of_pods(gang_info.gang.pods, group.size):
        seconds = 0.0
        if group.rank == first:
            seconds = _median(partial(_there_and_back, group, tensor, second), device)
        elif group.rank == second:
            _median(partial(_back, group, tensor, first), device)
        taken = max(group.all_gather_object(seconds)) / 2
        hosts = gang_info.hosts[first], gang_info.hosts[second]
        pairs.append(SlowestPair(hosts, bandwidth(tensor.nbytes, taken)))
    return pairs


def pairs_of_pods(pods: int, ranks: int) -> Iterator[tuple[int, int]]:
    """Return the first ranks of every pair of pods."""
    return itertools.combinations(range(0, ranks, ranks // pods), 2)


def _there_and_back(group: Group, tensor: torch.Tensor, other: int) -> None:
    group.send(tensor, other)
    group.receive(tensor, other)


def _back(group: Group, tensor: torch.Tensor, other: int) -> None:
    group.receive(tensor, other)
    group.send(tensor, other)
