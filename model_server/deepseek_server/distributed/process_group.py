"""Groups of processes that compute one model together.

Each runs the same steps on the same inputs with a part of the weights, and they reduce or gather the
results. torchrun, or another launcher, sets the rank of each process and the address of rank 0 in the
environment.

Tensors are sent over NCCL between GPUs and over gloo between CPUs. Commands are small Python objects
on separate connections, independent of the device's queue of work.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist

from deepseek_server.distributed import control_channel
from deepseek_server.distributed.heartbeat import HeartbeatMonitor
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.errors import GangError, PermanentError, TransientError

log = logging.getLogger(__name__)

# Pods of one model may start minutes apart, and some load longer than others.
START_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class RankInfo:
    """The rank of this process, and the address of rank 0.

    Attributes:
        rank: its number, from 0.
        size: number of processes.
        local_rank: its number on its host, which is the number of its GPU.
        host: host of rank 0.
        port: port of rank 0.
    """

    rank: int
    size: int
    local_rank: int
    host: str
    port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "RankInfo | None":
        """Read RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, which torchrun sets.

        Returns:
            None if WORLD_SIZE is not set or 1.

        Raises:
            PermanentError: one of them is missing or invalid; the message names it.
        """
        if environment.get("WORLD_SIZE", "1") == "1":
            return None
        numbers = {}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
            value = environment.get(name, "")
            if not value.isdecimal():
                raise PermanentError(
                    f"the environment has {name}={value!r} and WORLD_SIZE="
                    f"{environment['WORLD_SIZE']!r}: start the processes of a model with torchrun, "
                    "or set RANK, WORLD_SIZE, LOCAL_RANK and MASTER_PORT to numbers for each"
                )
            numbers[name] = int(value)
        if not environment.get("MASTER_ADDR"):
            raise PermanentError(
                "the environment has WORLD_SIZE but no MASTER_ADDR: set it to the host of rank 0"
            )
        if numbers["RANK"] >= numbers["WORLD_SIZE"]:
            raise PermanentError(
                f"RANK is {numbers['RANK']} and WORLD_SIZE {numbers['WORLD_SIZE']}: number the "
                f"processes from 0 to {numbers['WORLD_SIZE'] - 1}"
            )
        return cls(
            rank=numbers["RANK"],
            size=numbers["WORLD_SIZE"],
            local_rank=numbers["LOCAL_RANK"],
            host=environment["MASTER_ADDR"],
            port=numbers["MASTER_PORT"],
        )


class Group(Protocol):
    """Collective operations of a model's ranks, which must all make the same calls in order."""

    @property
    def rank(self) -> int:
        """The rank of this process, from 0."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by the sum over all ranks, and return it."""

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Concatenate the tensors of all ranks: [..., n] of each become [..., size * n]."""

    def broadcast_object(self, value: object) -> Any:
        """Return the value of rank 0; values of other ranks are ignored."""

    def all_gather_object(self, value: object) -> list[Any]:
        """Return the values of all ranks in order; waits for the last one without a timeout."""

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """Send a tensor to another rank, which must receive one of the same shape."""

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """Fill a tensor with one that another rank sends."""

    def all_reduce_min(self, number: int) -> int:
        """Return the smallest number of all ranks."""

    def close(self) -> None:
        """Leave the group without ending the others."""

    def fail(self, sentence: str) -> None:
        """Report to the others that this process fails, and why; those of a gang end too."""


class SingleProcessGroup:
    """The group of a single process."""

    rank, size = 0, 1

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        return tensor

    def broadcast_object(self, value: object) -> Any:
        """See Group."""
        return value

    def all_gather_object(self, value: object) -> list[Any]:
        """See Group."""
        return [value]

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group; not supported without another rank."""
        raise NotImplementedError

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group; not supported without another rank."""
        raise NotImplementedError

    def all_reduce_min(self, number: int) -> int:
        """See Group."""
        return number

    def close(self) -> None:
        """See Group."""

    def fail(self, sentence: str) -> None:
        """See Group."""


SINGLE_PROCESS: Group = SingleProcessGroup()


def join(device: Literal["cpu", "cuda"], gang_info: GangInfo | None = None) -> Group:
    """Connect to the other processes that the environment names; returns when all have connected.

    On GPUs this process's GPU becomes the current device. From now on this process ends, with an error
    in its log, when another one ends without leaving the group.

    Args:
        device: The device of the model.
        gang_info: The ranks of all pods, if there are several pods.

    Raises:
        PermanentError: The environment is invalid, or this host has too few GPUs.
        TransientError: The other processes did not connect.
        GangError: The other processes, in several pods, did not connect.
    """
    rank_info = RankInfo.from_environment()
    if rank_info is None:
        return SINGLE_PROCESS
    if device == "cuda":
        _choose_gpu(rank_info)
    rank, size, host, port = rank_info.rank, rank_info.size, rank_info.host, rank_info.port
    log.info("rank %d of %d connects to %s port %d", rank, size, host, port)
    backend = "nccl" if device == "cuda" else "gloo"
    try:
        if gang_info is None:
            dist.init_process_group(backend, init_method="env://", timeout=START_TIMEOUT)
        else:
            _rendezvous(backend, rank_info, gang_info)
        return _DistributedGroup(rank_info, gang_info)
    except (dist.DistError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        kind = TransientError if gang_info is None else GangError
        raise kind(
            f"rank {rank} did not connect to the other {size - 1} ranks of the model "
            f"at {host} port {port} ({reason}): check that all of them run and that no "
            "NetworkPolicy or firewall blocks their connections"
        ) from error


def _rendezvous(backend: str, rank_info: RankInfo, gang_info: GangInfo) -> None:
    """Wait until all ranks of all pods have connected, up to the configured timeout.

    Raises:
        GangError: Ranks did not connect; the message names them.
    """
    patience = timedelta(seconds=gang_info.gang.rank_seconds)
    # torchrun hosts the store; without torchrun, rank 0 does.
    hosts_store = rank_info.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = dist.TCPStore(
        rank_info.host,
        rank_info.port,
        is_master=hosts_store,
        timeout=patience,
        wait_for_workers=False,
    )
    here = [f"here/{rank}" for rank in range(rank_info.size)]
    store.set(here[rank_info.rank], "")
    try:
        store.wait(here, patience)
    except (dist.DistError, RuntimeError) as error:
        missing = [rank for rank, key in enumerate(here) if not store.check([key])]
        names = " and ".join(gang_info.named(rank) for rank in missing)
        raise GangError(
            f"{names} did not connect to the ranks of the model at {rank_info.host} port "
            f"{rank_info.port} within {gang_info.gang.rank_seconds:g} s: see the log of its pod"
        ) from error
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", store),
        rank=rank_info.rank,
        world_size=rank_info.size,
        timeout=START_TIMEOUT,
    )


def _choose_gpu(rank_info: RankInfo) -> None:
    count = torch.cuda.device_count()
    if rank_info.local_rank >= count:
        raise PermanentError(
            f"rank {rank_info.rank} needs GPU {rank_info.local_rank} of its host, which has "
            f"{count} GPUs: start at most one process per GPU on each host"
        )
    torch.cuda.set_device(rank_info.local_rank)


class _DistributedGroup:
    """A group of several processes, based on torch's initialized default group.

    Args:
        rank_info: the rank of this process.
        gang_info: the ranks of all pods, if there are several pods.
    """

    def __init__(self, rank_info: RankInfo, gang_info: GangInfo | None) -> None:
        self.rank, self.size = rank_info.rank, rank_info.size
        # NCCL runs in the order of the device's queue, in which messages between CPUs must not wait.
        self._cpus = dist.new_group(backend="gloo", timeout=START_TIMEOUT)
        self._commands, alive = (
            control_channel.connect_ranks(
                rank_info.rank, rank_info.size, rank_info.host, self._broadcast_once
            )
            for _ in range(2)
        )
        self._heartbeats = HeartbeatMonitor(rank_info.rank, alive, gang_info)

    def _broadcast_once(self, value: object) -> Any:
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._cpus)
        return values[0]

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        with self._await_loss_on_error():
            dist.all_reduce(tensor)
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        joined = tensor.new_empty(self.size * tensor.numel())
        if tensor.numel():
            with self._await_loss_on_error():
                dist.all_gather_into_tensor(joined, tensor.flatten())
        return joined.view(self.size, *tensor.shape).movedim(0, -2).flatten(-2)

    def broadcast_object(self, value: object) -> Any:
        """See Group."""
        with self._await_loss_on_error():
            if self.rank:
                return control_channel.receive(self._commands[0])
            control_channel.send(self._commands, value)
        return value

    @contextmanager
    def _await_loss_on_error(self) -> Iterator[None]:
        """Give the heartbeat monitor time to end this process if an operation fails due to a lost rank."""
        try:
            yield
        except (RuntimeError, OSError) as error:
            self._heartbeats.await_loss(error)
            raise

    def all_gather_object(self, value: object) -> list[Any]:
        """See Group."""
        values = [value]
        with self._await_loss_on_error():
            if self.rank:
                control_channel.send(self._commands, value)
            else:
                values += [
                    control_channel.receive(self._commands[rank]) for rank in range(1, self.size)
                ]
        gathered: list[Any] = self.broadcast_object(values)
        return gathered

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group."""
        with self._await_loss_on_error():
            dist.send(tensor, rank)

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group."""
        with self._await_loss_on_error():
            dist.recv(tensor, rank)

    def all_reduce_min(self, number: int) -> int:
        """See Group."""
        return int(min(self.all_gather_object(number)))

    def close(self) -> None:
        """See Group."""
        self._heartbeats.leave()
        for connection in self._commands.values():
            connection.close()
        if dist.get_backend() != dist.Backend.NCCL:  # NCCL would wait for CUDA graphs forever
            dist.destroy_process_group()

    def fail(self, sentence: str) -> None:
        """See Group."""
        self._heartbeats.fail(sentence)
