"""The hardware of this machine, and its view for the planner: one node per GPU type."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deepseek_operator.catalog.accelerators import ANY_GPU, accelerators
from deepseek_operator.plan.state.observed import NodeView

# Maximum memory in use on a GPU that counts as idle (display, driver).
IDLE_MIB = 1024
# Node label of NVIDIA's GPU feature discovery.
PRODUCT = "nvidia.com/gpu.product"
# Minimum compute capability for bfloat16.
BFLOAT16 = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        uuid: UUID, which is stable unlike the index.
        name: Product name as reported by the driver.
        memory_mib: Total memory in MiB.
        used_mib: Memory in use, in MiB.
        capability: NVIDIA's compute capability.
    """

    uuid: str
    name: str
    memory_mib: int
    used_mib: int
    capability: str

    @property
    def busy(self) -> bool:
        """True if another process uses the GPU."""
        return self.used_mib > IDLE_MIB

    @property
    def product(self) -> str:
        """Product name as in node labels."""
        return self.name.replace(" ", "-")

    @property
    def kind(self) -> str:
        """Profile in the catalogue, or a name derived from the product if it is not listed."""
        known = accelerators().of_node({PRODUCT: self.product})
        return known or re.sub(r"[^a-z0-9]+", "-", self.product.lower()).strip("-")


@dataclass(frozen=True)
class Host:
    """The resources of the machine.

    Attributes:
        memory: Available bytes of main memory.
        cores: Number of CPUs usable by this process.
        disk: Free bytes on the disk of the download directory.
        gpus: All GPUs, including busy ones.
    """

    memory: int
    cores: int = 1
    disk: int = 0
    gpus: tuple[Gpu, ...] = ()

    @property
    def free(self) -> tuple[Gpu, ...]:
        """GPUs that no other process uses."""
        return tuple(gpu for gpu in self.gpus if not gpu.busy)

    def kinds(self) -> list[str]:
        """Return the types of the free GPUs, sorted by total memory, largest first."""
        total = dict.fromkeys((gpu.kind for gpu in self.free), 0)
        for gpu in self.free:
            total[gpu.kind] += gpu.memory_mib
        return sorted(total, key=lambda kind: -total[kind])

    def of_kind(self, kind: str) -> list[Gpu]:
        """Return the free GPUs of a type."""
        return [gpu for gpu in self.free if gpu.kind == kind]

    def nodes(self) -> tuple[NodeView, ...]:
        """Return the machine as cluster nodes for the planner."""
        return tuple(
            NodeView(
                kind,
                {PRODUCT: self.of_kind(kind)[0].product},
                {ANY_GPU: str(len(self.of_kind(kind)))},
            )
            for kind in self.kinds()
        )


def unlisted(gpus: Iterable[Gpu]) -> dict[str, dict[str, Any]]:
    """Return catalogue entries for GPUs that are not listed, from the driver's data."""
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
