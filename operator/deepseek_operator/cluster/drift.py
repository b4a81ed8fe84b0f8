"""Drift detection: whether a live object still is as applied, decided from the object alone.

Server-side apply records on every object which fields a manager owns. A field that another manager
changes or removes leaves the operator's record, so an object is as applied exactly if it carries
the hash of the manifest and the record still covers every field of it. Nothing has to be remembered
across restarts of the operator, and no default or normalised value can look like a change.
"""

import json
from collections.abc import Mapping
from typing import Any

from deepseek_operator.plan.state.labels import MANAGER, MANIFEST_HASH

Object = Mapping[str, Any]

# Identity, not content: never part of the managed fields.
UNOWNED = frozenset({"apiVersion", "kind"})
IDENTITY = frozenset({"name", "namespace"})


def in_sync(manifest: Object, live: Object) -> bool:
    """Return whether applying `manifest` would leave `live` unchanged."""
    wanted = manifest["metadata"]["annotations"][MANIFEST_HASH]
    if live["metadata"].get("annotations", {}).get(MANIFEST_HASH) != wanted:
        return False
    content: dict[str, Any] = {k: v for k, v in manifest.items() if k not in UNOWNED}
    content["metadata"] = {k: v for k, v in manifest["metadata"].items() if k not in IDENTITY}
    owned = owned_fields(live)
    return bool(owned) and _covers(owned, content)


def owned_fields(live: Object) -> Object:
    """Return the fields that the operator's server-side apply owns, in the API's fieldsV1 form."""
    for entry in live["metadata"].get("managedFields", []):
        if (
            entry.get("manager") == MANAGER
            and entry.get("operation") == "Apply"
            and not entry.get("subresource")
        ):
            fields: Object = entry.get("fieldsV1", {})
            return fields
    return {}


def controller_uid(live: Object) -> str:
    """Return the UID of the owner that controls an object, empty if none does."""
    owners = live["metadata"].get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def _covers(owned: Object, value: Any) -> bool:
    """Return whether every field below `value` is owned; one without parts is owned as a whole."""
    if not owned:
        return True
    if isinstance(value, Mapping):
        return all(
            f"f:{key}" in owned and _covers(owned[f"f:{key}"], part) for key, part in value.items()
        )
    if isinstance(value, list):
        return all(_covers_item(owned, item) for item in value)
    return True


def _covers_item(owned: Object, item: Any) -> bool:
    """Return whether a list item is owned, by its keys (k:) or as a member of a set (v:)."""
    for name, part in owned.items():
        if name.startswith("k:") and isinstance(item, Mapping):
            keys = json.loads(name[2:])
            if all(item.get(key, value) == value for key, value in keys.items()):
                return _covers(part, item)
        if name.startswith("v:") and json.loads(name[2:]) == item:
            return True
    return False
