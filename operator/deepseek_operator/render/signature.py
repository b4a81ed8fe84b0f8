"""Hash of the manifest on each child, so that an unchanged manifest is not sent again."""

import hashlib
import json
from typing import Any

from deepseek_operator.plan.state.labels import MANIFEST_HASH


def sign(manifest: dict[str, Any]) -> None:
    """Annotate a manifest with its own hash."""
    metadata = manifest["metadata"]
    notes = metadata.pop("annotations", {})
    notes.pop(MANIFEST_HASH, None)
    if notes:
        metadata["annotations"] = notes
    metadata["annotations"] = {**notes, MANIFEST_HASH: digest(manifest)}


def digest(content: Any) -> str:
    """Return a hash of the content that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
