"""The models that DeepSeek has published, so that a mistyped id is answered before a download."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml


@dataclass(frozen=True)
class Size:
    """What a model takes.

    Attributes:
        parameters: Numbers in the model as it is served, rounded.
        weight_bytes: Bytes of the published checkpoint.
        cache_bytes_per_token: Bytes of the cache for a token of context.
        cache_bytes_per_sequence: Bytes of the cache for a request of any length, beside those.
    """

    parameters: int
    weight_bytes: int
    cache_bytes_per_token: int
    cache_bytes_per_sequence: int = 0


class Models:
    """DeepSeek's repositories on the hub.

    Args:
        organisation: their owner.
        sizes: what each takes, None where the bundled server does not serve it.
        as_of: when the list was made.
    """

    def __init__(self, organisation: str, sizes: Mapping[str, Size | None], as_of: str):
        self.organisation = organisation
        self.as_of = as_of
        self._ids = {f"{organisation}/{name}".lower(): f"{organisation}/{name}" for name in sizes}
        self._sizes = {f"{organisation}/{name}".lower(): size for name, size in sizes.items()}

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._ids.values())

    def knows(self, model_id: str) -> bool:
        """Whether an id is a published one, in exactly this spelling (the hub is case-tolerant)."""
        return model_id.lower() in self._ids

    def size(self, model_id: str) -> Size | None:
        """What a published model takes, None where that is not known."""
        return self._sizes.get(model_id.lower())

    def belongs(self, model_id: str) -> bool:
        """Whether an id claims to be one of DeepSeek's own repositories."""
        return model_id.lower().startswith(f"{self.organisation}/")

    def nearest(self, model_id: str) -> list[str]:
        """Up to three published ids that look like this one, the most similar first."""
        close = difflib.get_close_matches(model_id.lower(), self._ids, n=3, cutoff=0.6)
        return [self._ids[name] for name in close]


@cache
def models() -> Models:
    """The catalogue's models."""
    data = yaml.safe_load(resources.files(__package__).joinpath("models.yaml").read_text())
    sizes = {
        name: _size(entry)
        for family in data["families"]
        for entry in family["sizes"]
        for name in entry["repositories"]
    }
    return Models(data["organisation"], sizes, data["as_of"])


def _size(entry: Mapping[str, int]) -> Size | None:
    if "parameters" not in entry:
        return None
    return Size(
        parameters=entry["parameters"],
        weight_bytes=entry["weightBytes"],
        cache_bytes_per_token=entry["cacheBytesPerToken"],
        cache_bytes_per_sequence=entry.get("cacheBytesPerSequence", 0),
    )
