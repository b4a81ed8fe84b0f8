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

from deepseek_server.distributed import control_channel as wires
from deepseek_server.distributed.heartbeat import Lifeline
from deepseek_server.distributed.rank_info import Team
from deepseek_server.errors import GangError, PermanentError, TransientError

log = logging.getLogger(__name__)

# Pods of one model may start minutes apart, and some load longer than others.
START_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Place:
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
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Place | None":
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

    def share(self, value: object) -> Any:
        """Return the value of rank 0; values of other ranks are ignored."""

    def gather(self, value: object) -> list[Any]:
        """Return the values of all ranks in order; waits for the last one without a timeout."""

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """Send a tensor to another rank, which must receive one of the same shape."""

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """Fill a tensor with one that another rank sends."""

    def smallest(self, number: int) -> int:
        """Return the smallest number of all ranks."""

    def close(self) -> None:
        """Leave the group without ending the others."""

    def fail(self, sentence: str) -> None:
        """Report to the others that this process fails, and why; those of a team end too."""


class Alone:
    """The group of a single process."""

    rank, size = 0, 1

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        return tensor

    def share(self, value: object) -> Any:
        """See Group."""
        return value

    def gather(self, value: object) -> list[Any]:
        """See Group."""
        return [value]

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group; not supported without another rank."""
        raise NotImplementedError

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group; not supported without another rank."""
        raise NotImplementedError

    def smallest(self, number: int) -> int:
        """See Group."""
        return number

    def close(self) -> None:
        """See Group."""

    def fail(self, sentence: str) -> None:
        """See Group."""


ALONE: Group = Alone()


def join(device: Literal["cpu", "cuda"], team: Team | None = None) -> Group:
    """Connect to the other processes that the environment names; returns when all have connected.

    On GPUs this process's GPU becomes the current device. From now on this process ends, with an error
    in its log, when another one ends without leaving the group.

    Args:
        device: The device of the model.
        team: The ranks of all pods, if there are several pods.

    Raises:
        PermanentError: The environment is invalid, or this host has too few GPUs.
        TransientError: The other processes did not connect.
        GangError: The other processes, in several pods, did not connect.
    """
    place = Place.from_environment()
    if place is None:
        return ALONE
    if device == "cuda":
        _choose_gpu(place)
    log.info("rank %d of %d connects to %s port %d", place.rank, place.size, place.host, place.port)
    backend = "nccl" if device == "cuda" else "gloo"
    try:
        if team is None:
            dist.init_process_group(backend, init_method="env://", timeout=START_TIMEOUT)
        else:
            _meet(backend, place, team)
        return _Together(place, team)
    except (dist.DistError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        kind = TransientError if team is None else GangError
        raise kind(
            f"rank {place.rank} did not connect to the other {place.size - 1} ranks of the model "
            f"at {place.host} port {place.port} ({reason}): check that all of them run and that no "
            "NetworkPolicy or firewall blocks their connections"
        ) from error


def _meet(backend: str, place: Place, team: Team) -> None:
    """Wait until all ranks of all pods have connected, up to the configured timeout.

    Raises:
        GangError: Ranks did not connect; the message names them.
    """
    patience = timedelta(seconds=team.gang.rank_seconds)
    # torchrun hosts the store; without torchrun, rank 0 does.
    holds = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = dist.TCPStore(
        place.host, place.port, is_master=holds, timeout=patience, wait_for_workers=False
    )
    here = [f"here/{rank}" for rank in range(place.size)]
    store.set(here[place.rank], "")
    try:
        store.wait(here, patience)
    except (dist.DistError, RuntimeError) as error:
        missing = [rank for rank, key in enumerate(here) if not store.check([key])]
        names = " and ".join(team.named(rank) for rank in missing)
        raise GangError(
            f"{names} did not connect to the ranks of the model at {place.host} port {place.port} "
            f"within {team.gang.rank_seconds:g} s: see the log of its pod"
        ) from error
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", store),
        rank=place.rank,
        world_size=place.size,
        timeout=START_TIMEOUT,
    )


def _choose_gpu(place: Place) -> None:
    count = torch.cuda.device_count()
    if place.local_rank >= count:
        raise PermanentError(
            f"rank {place.rank} needs GPU {place.local_rank} of its host, which has {count} GPUs: "
            "start at most one process per GPU on each host"
        )
    torch.cuda.set_device(place.local_rank)


class _Together:
    """A group of several processes, based on torch's initialized default group.

    Args:
        place: the rank of this process.
        team: the ranks of all pods, if there are several pods.
    """

    def __init__(self, place: Place, team: Team | None) -> None:
        self.rank, self.size = place.rank, place.size
        # NCCL runs in the order of the device's queue, in which messages between CPUs must not wait.
        self._cpus = dist.new_group(backend="gloo", timeout=START_TIMEOUT)
        self._commands = wires.lay(place.rank, place.size, place.host, self._share_once)
        alive = wires.lay(place.rank, place.size, place.host, self._share_once)
        self._lifeline = Lifeline(place.rank, alive, team)

    def _share_once(self, value: object) -> Any:
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._cpus)
        return values[0]

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        with self._ends_with_others():
            dist.all_reduce(tensor)
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group."""
        joined = tensor.new_empty(self.size * tensor.numel())
        if tensor.numel():
            with self._ends_with_others():
                dist.all_gather_into_tensor(joined, tensor.flatten())
        return joined.view(self.size, *tensor.shape).movedim(0, -2).flatten(-2)

    def share(self, value: object) -> Any:
        """See Group."""
        with self._ends_with_others():
            if self.rank:
                return wires.receive(self._commands[0])
            wires.send(self._commands, value)
        return value

    @contextmanager
    def _ends_with_others(self) -> Iterator[None]:
        """Give the lifeline time to end this process if an operation fails due to a lost rank."""
        try:
            yield
        except (RuntimeError, OSError) as error:
            self._lifeline.await_loss(error)
            raise

    def gather(self, value: object) -> list[Any]:
        """See Group."""
        values = [value]
        with self._ends_with_others():
            if self.rank:
                wires.send(self._commands, value)
            else:
                values += [wires.receive(self._commands[rank]) for rank in range(1, self.size)]
        gathered: list[Any] = self.share(values)
        return gathered

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group."""
        with self._ends_with_others():
            dist.send(tensor, rank)

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group."""
        with self._ends_with_others():
            dist.recv(tensor, rank)

    def smallest(self, number: int) -> int:
        """See Group."""
        return int(min(self.gather(number)))

    def close(self) -> None:
        """See Group."""
        self._lifeline.untie()
        for wire in self._commands.values():
            wire.close()
        if dist.get_backend() != dist.Backend.NCCL:  # NCCL would wait for CUDA graphs forever
            dist.destroy_process_group()

    def fail(self, sentence: str) -> None:
        """See Group."""
        self._lifeline.fail(sentence)
