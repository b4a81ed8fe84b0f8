"""The shapes of published models, so that they can be measured without their weights.

How fast a model runs depends on its shapes, not on what it has learnt. The numbers are those of
each repository's config.json on the model hub; profiles.yaml has them, with the repositories.
"""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("profiles.yaml")


@cache
def _profiles() -> dict[str, dict[str, Any]]:
    """Return the profiles by name; names that begin with a dot are parts of others."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {name: config for name, config in content.items() if not name.startswith(".")}


NAMES = tuple(_profiles())
# R1 has the shape of V3, so their slices are one.
SHORT = {"1.5b": "qwen-1.5b", "7b": "qwen-7b", "8b": "llama-8b", "r1-slice": "v3-slice"}


def named(text: str) -> str:
    """A profile's name, from that or a shorter one.

    Raises:
        ValueError: there is no such profile.
    """
    name = SHORT.get(text, text)
    if name not in NAMES:
        raise ValueError(f"no profile is called {text!r}: there are {', '.join(NAMES)}")
    return name


def configuration(name: str, layers: int | None = None) -> dict[str, Any]:
    """The content of a profile's config.json.

    Args:
        name: of the profile, one of NAMES.
        layers: how many layers in place of the model's own number.

    Raises:
        KeyError: there is no such profile.
    """
    config = deepcopy(_profiles()[name])
    if layers is not None:
        config["num_hidden_layers"] = layers
    return config
