"""What a machine has, and how the planner sees it: as nodes, one for each kind of GPU."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deepseek_operator.catalog.accelerators import ANY_GPU, accelerators
from deepseek_operator.plan.state.observed import NodeView

# What programs that show nothing take of a GPU at most (a display, an idle driver).
IDLE_MIB = 1024
# By which NVIDIA's feature discovery tells what a node has.
PRODUCT = "nvidia.com/gpu.product"
# The least compute capability that has bfloat16.
BFLOAT16 = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        uuid: By which programs are given it, whatever its number is.
        name: As the driver shows it.
        memory_mib: Its memory, in MiB.
        used_mib: What others have of that.
        capability: NVIDIA's compute capability.
    """

    uuid: str
    name: str
    memory_mib: int
    used_mib: int
    capability: str

    @property
    def busy(self) -> bool:
        """Whether somebody else computes on it."""
        return self.used_mib > IDLE_MIB

    @property
    def product(self) -> str:
        """Its name as nodes are labelled with it."""
        return self.name.replace(" ", "-")

    @property
    def kind(self) -> str:
        """Its profile in the catalogue, or the name that it gets where the catalogue has none."""
        known = accelerators().of_node({PRODUCT: self.product})
        return known or re.sub(r"[^a-z0-9]+", "-", self.product.lower()).strip("-")


@dataclass(frozen=True)
class Machine:
    """What there is for models.

    Attributes:
        memory: Bytes of main memory that can be had now.
        cores: Threads that compute at once.
        disk: Bytes that are free where downloads are kept.
        gpus: All of them, those of others too.
    """

    memory: int
    cores: int = 1
    disk: int = 0
    gpus: tuple[Gpu, ...] = ()

    @property
    def free(self) -> tuple[Gpu, ...]:
        """The GPUs on which nobody computes."""
        return tuple(gpu for gpu in self.gpus if not gpu.busy)

    def kinds(self) -> list[str]:
        """Kinds of the free GPUs, those with the most memory in all first."""
        total = dict.fromkeys((gpu.kind for gpu in self.free), 0)
        for gpu in self.free:
            total[gpu.kind] += gpu.memory_mib
        return sorted(total, key=lambda kind: -total[kind])

    def of_kind(self, kind: str) -> list[Gpu]:
        """The free GPUs of a kind."""
        return [gpu for gpu in self.free if gpu.kind == kind]

    def nodes(self) -> tuple[NodeView, ...]:
        """The machine as the planner looks at a cluster."""
        return tuple(
            NodeView(
                kind,
                {PRODUCT: self.of_kind(kind)[0].product},
                {ANY_GPU: str(len(self.of_kind(kind)))},
            )
            for kind in self.kinds()
        )


def unlisted(gpus: Iterable[Gpu]) -> dict[str, dict[str, Any]]:
    """Entries for the catalogue of GPUs that it does not have, from what the driver says of them."""
    found: dict[str, dict[str, Any]] = {}
    for gpu in gpus:
        if gpu.kind in accelerators().profiles:
            continue
        types = {"float16": 0.0, "float32": 0.0}
        if tuple(map(int, gpu.capability.split("."))) >= BFLOAT16:
            types["bfloat16"] = 0.0
        found[gpu.kind] = {
            "memoryMiB": gpu.memory_mib,
            "capability": gpu.capability,
            "tflops": types,
            "labels": {PRODUCT: [gpu.product]},
        }
    return found
