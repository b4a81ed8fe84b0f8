"""The processes that compute one model together.

Each runs the same steps on the same inputs with a part of the weights, and they add up or join
what they found. torchrun, or whoever starts the processes, tells each by its environment who it is
and where the first of them listens.

Tensors travel over NCCL between GPUs and over gloo between CPUs. Commands are small Python objects
and travel over connections of their own, which take no part in the device's queue of work.
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

# Pods of one model may start minutes apart, and one may load for longer than another.
START_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number among those of its host, which is the number of its GPU.
        host: where rank 0 is.
        port: where rank 0 listens.
    """

    rank: int
    size: int
    local_rank: int
    host: str
    port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Place | None":
        """What torchrun says in RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.

        Returns:
            None where there is no WORLD_SIZE, or where it is 1.

        Raises:
            PermanentError: one of them is missing or no number; says which.
        """
        if environment.get("WORLD_SIZE", "1") == "1":
            return None
        numbers = {}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
            value = environment.get(name, "")
            if not value.isdecimal():
                raise PermanentError(
                    f"the environment has {name}={value!r} beside WORLD_SIZE="
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
    """What the processes of a model do together; each must make the same calls in the same order."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by the sum of all processes' tensors, and return it."""

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """All processes' tensors side by side: [..., n] of each make [..., size * n]."""

    def share(self, value: object) -> Any:
        """The value that rank 0 gave; what the others give is not looked at."""

    def gather(self, value: object) -> list[Any]:
        """The values of all by rank; waits for the last one, however long it takes."""

    def send(self, tensor: torch.Tensor, rank: int) -> None:
        """Send a tensor to one other process, which must receive one of the same shape."""

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """Fill a tensor with one that another process sends."""

    def smallest(self, number: int) -> int:
        """The smallest of all processes' numbers."""

    def close(self) -> None:
        """Leave the group; the others are not disturbed."""

    def fail(self, sentence: str) -> None:
        """Tell the others that this process is about to end, and why; those of a team end too."""


class Alone:
    """The group of one process, in which there is nothing to do together."""

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
        """See Group; there is nobody to send to."""
        raise NotImplementedError

    def receive(self, tensor: torch.Tensor, rank: int) -> None:
        """See Group; there is nobody to receive from."""
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
    """Meet the other processes that the environment tells of; returns when all are there.

    On GPUs this process's GPU becomes its current one. From here on this process ends, with a
    sentence in its log, as soon as another one ends without having left the group.

    Args:
        device: What the model runs on.
        team: What there is to know of the others, where they are in several pods.

    Raises:
        PermanentError: The environment is wrong, or this host has too few GPUs.
        TransientError: The others did not come.
        GangError: The others, in several pods, did not come.
    """
    place = Place.from_environment()
    if place is None:
        return ALONE
    if device == "cuda":
        _choose_gpu(place)
    log.info("rank %d of %d meets at %s port %d", place.rank, place.size, place.host, place.port)
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
            f"rank {place.rank} did not meet the other {place.size - 1} processes of the model at "
            f"{place.host} port {place.port} ({reason}): check that all of them run and that "
            "nothing between them blocks their connections"
        ) from error


def _meet(backend: str, place: Place, team: Team) -> None:
    """Wait until all ranks of all pods have come, for as long as the configuration says.

    Raises:
        GangError: Not all came; says which.
    """
    patience = timedelta(seconds=team.gang.rank_seconds)
    # torchrun holds the store; where there is none, the first rank does.
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
            f"{names} did not come within {team.gang.rank_seconds:g} s to where the ranks of the "
            f"model meet, {place.host} port {place.port}: the log of its pod says more"
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
            f"rank {place.rank} is process {place.local_rank} of its host, which has {count} GPUs: "
            "start as many processes on each host as it has GPUs"
        )
    torch.cuda.set_device(place.local_rank)


class _Together:
    """A group of several processes, for which torch's default group is ready.

    Args:
        place: which of them this one is.
        team: what there is to know of the others, where they are in several pods.
    """

    def __init__(self, place: Place, team: Team | None) -> None:
        self.rank, self.size = place.rank, place.size
        # NCCL works in the order of the device's queue; what the CPUs agree on must not wait there.
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
        """A collective may find that another process died before the lifeline ends this one."""
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
        if dist.get_backend() != dist.Backend.NCCL:  # that waits for recorded steps, without an end
            dist.destroy_process_group()

    def fail(self, sentence: str) -> None:
        """See Group."""
        self._lifeline.fail(sentence)
