"""The GPUs that clusters have: what they can do, and the node labels by which one finds them."""

import difflib
from collections.abc import Mapping
from functools import cache

from pydantic import ConfigDict, Field

from deepseek_operator.catalog.entries import Entry, built_in, entries, own

Labels = dict[str, list[str]]

# What a pod asks for where no profile is named.
ANY_GPU = "nvidia.com/gpu"


class Profile(Entry):
    """A kind of GPU, or of a slice of one.

    Attributes:
        resource: Name of the extended resource that pods ask for.
        memory_mib: Memory that nvidia-smi shows, in MiB.
        bandwidth: Of its memory, in GB/s.
        tflops: Dense TFLOP/s by type of number; a type that is not there is not computed.
        capability: NVIDIA's compute capability; empty for other vendors.
        together: How many of them serve one model at most.
        rdma: Name of the extended resource by which pods get at the fast network of its nodes
            (InfiniBand, RoCE, EFA); empty: they have none, or pods reach it without.
        labels: Node labels; any one of them with one of its values marks a fitting node.
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
        """Bytes of its memory."""
        return self.memory_mib * 2**20

    @property
    def version(self) -> tuple[int, ...]:
        """Return the compute capability as numbers, (0,) where there is none."""
        return tuple(map(int, (self.capability or "0").split(".")))

    def marks(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels has this kind."""
        return any(labels.get(label) in values for label, values in self.labels.items())


class Accelerators:
    """Kinds of GPU.

    Attributes:
        profiles: The kinds by name.
        resources: The extended resources by which nodes offer them.
    """

    def __init__(self, profiles: Mapping[str, Profile]):
        self.profiles = profiles
        self.resources = frozenset({ANY_GPU, *(kind.resource for kind in profiles.values())})

    def nearest(self, profile: str) -> list[str]:
        """The profiles that look like this one, the most similar first; all where none does."""
        return difflib.get_close_matches(profile.lower(), self.profiles, n=3) or list(self.profiles)

    def of_node(self, labels: Mapping[str, str], resource: str = ANY_GPU) -> str | None:
        """The kind that a node's labels tell of among those of a resource, None where they don't."""
        kinds = (name for name, kind in self.profiles.items() if kind.resource == resource)
        return next((name for name in kinds if self.profiles[name].marks(labels)), None)


@cache
def accelerators() -> Accelerators:
    """The catalogue's accelerators, the installation's own among them.

    Raises:
        EntryError: An entry is wrong.
    """
    known = entries("accelerators", Profile, built_in("accelerators")["profiles"])
    return Accelerators(known | entries("accelerators", Profile, own().accelerators))
