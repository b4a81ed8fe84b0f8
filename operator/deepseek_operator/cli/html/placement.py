"""Where the parts of a model are: the pods of a replica, and the GPUs of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_operator.cli.html.charts import Table

# As many pods of a replica as are drawn.
PODS = 8


@dataclass(frozen=True)
class Gpu:
    """A GPU of a picture of the placement.

    Attributes:
        rank: Among those of the replica.
        shard: Part of every layer that it has, counted from 1.
        group: Group of layers or of requests that it is in, counted from 1; 0: there are no groups.
    """

    rank: int
    shard: int
    group: int


@dataclass(frozen=True)
class Placement:
    """The pods of a replica and the GPUs of each.

    Attributes:
        pods: Each with its GPUs.
        table: The same in words.
        hidden: Pods that are not drawn.
        accelerator: The GPUs of a replica, in words.
        groups: What groups are of, in words; empty: there are none.
    """

    pods: Sequence[Sequence[Gpu]]
    table: Table
    hidden: int
    accelerator: str
    groups: str


def placement(shape: dict[str, Any], accelerator: str) -> Placement | None:
    """Where the GPUs of a resource are; None where it has none."""
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
    heads = ("pod", "GPUs", "parts of every layer", f"groups of {groups}")
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
