"""Placement of a model: the pods of a replica, and the shards on the GPUs of each pod."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_operator.cli.html.charts import Table

# Maximum number of pods in the picture.
PODS = 8


@dataclass(frozen=True)
class Gpu:
    """A GPU in the placement picture.

    Attributes:
        rank: Its rank within the replica.
        shard: Index of its tensor-parallel shard, from 1.
        group: Index of its pipeline stage or data-parallel group, from 1; 0 without groups.
    """

    rank: int
    shard: int
    group: int


@dataclass(frozen=True)
class Placement:
    """The pods of a replica and the GPUs of each.

    Attributes:
        pods: The GPUs of each pod.
        table: The same as a table.
        hidden: Number of pods that are not drawn.
        accelerator: Description of the GPUs of a replica.
        groups: What is split into groups (layers or requests); empty without groups.
    """

    pods: Sequence[Sequence[Gpu]]
    table: Table
    hidden: int
    accelerator: str
    groups: str


def placement(shape: dict[str, Any], accelerator: str) -> Placement | None:
    """Return the placement of a resource; None if it uses no GPUs."""
    each, pods = shape["gpus"]["ofReplica"], shape["podsOfReplica"]
    if not each:
        return None
    tensor, groups = shape["tensor"], _groups(shape)
    gpus = [
        Gpu(rank, rank % tensor + 1, rank // tensor + 1 if groups else 0) for rank in range(each)
    ]
    of_pod = each // pods
    drawn = [gpus[pod * of_pod : (pod + 1) * of_pod] for pod in range(min(pods, PODS))]
    return Placement(
        pods=drawn,
        table=_table(drawn, groups),
        hidden=max(pods - PODS, 0),
        accelerator=accelerator,
        groups=groups,
    )


def _table(pods: Sequence[Sequence[Gpu]], groups: str) -> Table:
    heads = ("pod", "GPUs", "shards of every layer", f"groups of {groups}")
    rows = [
        (
            f"{number}",
            _span(gpu.rank for gpu in pod),
            _span(gpu.shard for gpu in pod),
            _span(gpu.group for gpu in pod),
        )
        for number, pod in enumerate(pods)
    ]
    return Table(heads, rows) if groups else Table(heads[:3], [row[:3] for row in rows])


def _span(numbers: Iterable[int]) -> str:
    found = list(numbers)
    low, high = min(found), max(found)
    return f"{low}" if low == high else f"{low} to {high}"


def _groups(shape: dict[str, Any]) -> str:
    if shape["pipeline"] > 1:
        return "layers"
    return "requests" if shape["data"] > 1 else ""
