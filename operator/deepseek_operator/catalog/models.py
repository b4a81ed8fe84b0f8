"""The models that DeepSeek has published, so that a mistyped id is answered before a download."""

import difflib
from functools import cache
from importlib import resources

import yaml


class Models:
    """DeepSeek's repositories on the hub."""

    def __init__(self, organisation: str, repositories: tuple[str, ...], as_of: str):
        self.organisation = organisation
        self.as_of = as_of
        self._ids = {
            f"{organisation}/{name}".lower(): f"{organisation}/{name}" for name in repositories
        }

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._ids.values())

    def knows(self, model_id: str) -> bool:
        """Whether an id is a published one, in exactly this spelling (the hub is case-tolerant)."""
        return model_id.lower() in self._ids

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
    repositories = tuple(name for family in data["families"] for name in family["repositories"])
    return Models(data["organisation"], repositories, data["as_of"])
