"""The hash on each child of the manifest that it was made of, so that an unchanged one is not sent again."""

import hashlib
import json
from typing import Any

from deepseek_operator.plan.state.labels import MANIFEST_HASH


def sign(manifest: dict[str, Any]) -> None:
    """Note on an object which manifest it was made of."""
    metadata = manifest["metadata"]
    notes = metadata.pop("annotations", {})
    notes.pop(MANIFEST_HASH, None)
    if notes:
        metadata["annotations"] = notes
    metadata["annotations"] = {**notes, MANIFEST_HASH: digest(manifest)}


def digest(content: Any) -> str:
    """Changes with the content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
