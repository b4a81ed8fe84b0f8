"""Catalogue of GPUs: their capabilities, and the node labels that identify them."""

import difflib
from collections.abc import Mapping
from functools import cache

from pydantic import ConfigDict, Field

from deepseek_operator.catalog.entries import Entry, built_in, entries, own

Labels = dict[str, list[str]]

# Extended resource that a pod requests if no profile is named.
ANY_GPU = "nvidia.com/gpu"


class Profile(Entry):
    """Kind of GPU, or of a slice of one.

    Attributes:
        resource: Name of the extended resource that pods request.
        memory_mib: Memory according to nvidia-smi, in MiB.
        bandwidth: Memory bandwidth, in GB/s.
        tflops: Dense TFLOP/s by data type; a type without an entry is not supported.
        capability: NVIDIA's compute capability; empty for other vendors.
        together: Maximum number of them that serve one model.
        rdma: Name of the extended resource that gives pods access to the nodes' fast network
            (InfiniBand, RoCE, EFA); empty: nodes have none, or pods need no resource for it.
        labels: Node labels; any one of them with one of its values marks a node with this GPU.
    """

    model_config = ConfigDict(frozen=True)

    resource: str = Field(default=ANY_GPU, min_length=1)
    memory_mib: int = Field(gt=0, alias="memoryMiB")
    bandwidth: float = Field(default=0, ge=0)
    tflops: dict[str, float] = Field(default={"bfloat16": 0, "float16": 0, "float32": 0})
    capability: str = ""
    together: int = Field(default=8, ge=1)
    rdma: str = ""
    labels: Labels = Field(min_length=1)

    @property
    def memory(self) -> int:
        """Memory in bytes."""
        return self.memory_mib * 2**20

    @property
    def version(self) -> tuple[int, ...]:
        """Compute capability as numbers, (0,) if there is none."""
        return tuple(map(int, (self.capability or "0").split(".")))

    def marks(self, labels: Mapping[str, str]) -> bool:
        """Return whether a node with these labels has this kind of GPU."""
        return any(labels.get(label) in values for label, values in self.labels.items())


class Accelerators:
    """Kinds of GPU.

    Attributes:
        profiles: Profiles by name.
        resources: Extended resources of all profiles.
    """

    def __init__(self, profiles: Mapping[str, Profile]):
        self.profiles = profiles
        self.resources = frozenset({ANY_GPU, *(kind.resource for kind in profiles.values())})

    def nearest(self, profile: str) -> list[str]:
        """Return profiles with similar names, the most similar first; all if there are none."""
        return difflib.get_close_matches(profile.lower(), self.profiles, n=3) or list(self.profiles)

    def of_node(self, labels: Mapping[str, str], resource: str = ANY_GPU) -> str | None:
        """Return the profile of an extended resource that a node's labels match, None without one."""
        kinds = (name for name, kind in self.profiles.items() if kind.resource == resource)
        return next((name for name in kinds if self.profiles[name].marks(labels)), None)


@cache
def accelerators() -> Accelerators:
    """Return the catalogue's accelerators, including those that the installation adds.

    Raises:
        EntryError: An entry is invalid.
    """
    known = entries("accelerators", Profile, built_in("accelerators")["profiles"])
    return Accelerators(known | entries("accelerators", Profile, own().accelerators))
