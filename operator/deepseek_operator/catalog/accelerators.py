"""The GPUs that clusters have, and the node labels by which one finds them."""

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

Labels = dict[str, list[str]]


@dataclass(frozen=True)
class Accelerators:
    """Kinds of GPU.

    Attributes:
        resource: Name of the extended resource that pods ask for.
        profiles: Node labels by profile; one label with one of its values marks a fitting node.
    """

    resource: str
    profiles: dict[str, Labels]

    def nearest(self, profile: str) -> list[str]:
        """The profiles that look like this one, the most similar first; all where none does."""
        return difflib.get_close_matches(profile.lower(), self.profiles, n=3) or list(self.profiles)


@cache
def accelerators() -> Accelerators:
    """The catalogue's accelerators."""
    data = yaml.safe_load(resources.files(__package__).joinpath("accelerators.yaml").read_text())
    return Accelerators(resource=data["resource"], profiles=data["profiles"])
