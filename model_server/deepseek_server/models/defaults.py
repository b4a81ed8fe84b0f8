"""Sampling defaults that a model's authors recommend, and the model's end tokens."""

import json
from pathlib import Path
from typing import Any

from deepseek_server.server.served_model import SamplingDefaults


def sampling_defaults(directory: Path) -> SamplingDefaults:
    """Return the sampling parameters for requests that set none, from generation_config.json."""
    generation = _generation_config(directory)
    return SamplingDefaults(
        temperature=float(generation.get("temperature") or 1.0),
        top_p=float(generation.get("top_p") or 1.0),
    )


def eos_token_ids(
    directory: Path, config: dict[str, Any], of_tokenizer: int | None
) -> frozenset[int]:
    """Return every token that one of the model's files defines as an end token.

    Args:
        directory: the directory of the model's files.
        config: the content of config.json.
        of_tokenizer: the end token of the tokenizer, if any.
    """
    ids: set[int] = set()
    for value in (
        _generation_config(directory).get("eos_token_id"),
        config.get("eos_token_id"),
        of_tokenizer,
    ):
        ids.update(value if isinstance(value, list) else [value] if isinstance(value, int) else [])
    return frozenset(ids)


def _generation_config(directory: Path) -> dict[str, Any]:
    """Return the content of generation_config.json; empty if the model has none."""
    try:
        content = json.loads((directory / "generation_config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
