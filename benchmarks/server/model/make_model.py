"""Generation of a model directory with a published shape and random weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.server.model.shards import write_shards
from benchmarks.server.model.tensors import tensors
from benchmarks.server.model.tokenizer import BEGIN, END, write_tokenizer


def weight_bytes(config: Mapping[str, Any]) -> int:
    """Return the bytes of a configuration's weights."""
    return sum(tensor.bytes for tensor in tensors(config))


def write_model(
    config: Mapping[str, Any], directory: Path, written: Callable[[int], object] = lambda _: None
) -> Path:
    """Write the files that a hub repository of this model would contain.

    Args:
        config: the content of config.json.
        directory: the target directory; created if missing.
        written: called with the bytes of written weights, in any thread.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    begin, end = config["bos_token_id"], config["eos_token_id"]
    write_tokenizer(directory, config["vocab_size"], {BEGIN: begin, END: end})
    generation = {
        "bos_token_id": begin,
        "eos_token_id": end,
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.95,
    }
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=2))
    write_shards(tensors(config), directory, written)
    # Last, because a directory with a config.json is considered complete.
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    return directory
