"""The shapes of published models, so that they can be measured without their weights.

The speed of a model depends on its shapes, not on its weights' values. profiles.yaml contains the
numbers of each repository's config.json on the model hub, with the repositories.
"""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("profiles.yaml")


@cache
def _profiles() -> dict[str, dict[str, Any]]:
    """Return the profiles by name; names with a leading dot are parts of other profiles."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {name: config for name, config in content.items() if not name.startswith(".")}


NAMES = tuple(_profiles())
# R1 has the shape of V3, so they share a slice.
SHORT = {"1.5b": "qwen-1.5b", "7b": "qwen-7b", "8b": "llama-8b", "r1-slice": "v3-slice"}


def named(text: str) -> str:
    """Return a profile's name for that name or its short form.

    Raises:
        ValueError: there is no such profile.
    """
    name = SHORT.get(text, text)
    if name not in NAMES:
        raise ValueError(f"unknown profile {text!r}: write one of {', '.join(NAMES)}")
    return name


def configuration(name: str, layers: int | None = None) -> dict[str, Any]:
    """Return the content of a profile's config.json.

    Args:
        name: name of the profile, one of NAMES.
        layers: number of layers, instead of the model's own.

    Raises:
        KeyError: there is no such profile.
    """
    config = deepcopy(_profiles()[name])
    if layers is not None:
        config["num_hidden_layers"] = layers
    return config
