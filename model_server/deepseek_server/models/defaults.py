"""What a model's authors recommend, and the tokens that they end an answer with."""

import json
from pathlib import Path
from typing import Any

from deepseek_server.server.served_model import SamplingDefaults


def sampling_defaults(directory: Path) -> SamplingDefaults:
    """How tokens are to be chosen where a request says nothing, from generation_config.json."""
    generation = _generation_config(directory)
    return SamplingDefaults(
        temperature=float(generation.get("temperature") or 1.0),
        top_p=float(generation.get("top_p") or 1.0),
    )


def eos_token_ids(
    directory: Path, config: dict[str, Any], of_tokenizer: int | None
) -> frozenset[int]:
    """Every token that one of the model's files calls the end.

    Args:
        directory: where the model's files are.
        config: what is in config.json.
        of_tokenizer: the end token that the tokenizer names, if any.
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
    """The recommendations; a model may have none."""
    try:
        content = json.loads((directory / "generation_config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
