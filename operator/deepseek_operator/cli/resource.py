"""Resources read from files and validated as the API server would."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from deepseek_operator.api.crd import definition
from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.cli import rules
from deepseek_operator.cli.documents import documents
from deepseek_operator.cli.errors import CommandError

Object = dict[str, Any]

# Placeholder UID of a resource that is in no cluster.
NOWHERE = "00000000-0000-0000-0000-000000000000"


def read(path: Path, namespace: str | None, uid: str | None) -> list[Object]:
    """Return the resources of a file as they would be stored in a cluster.

    Args:
        path: The file, `-` for standard input.
        namespace: Their namespace; None: their own, else `default`.
        uid: Their UID; None: `NOWHERE`.

    Raises:
        CommandError: The file has no resource, or the API server would reject one.
    """
    found = [item for item in documents(path) if _is_ours(item)]
    if not found:
        raise CommandError(
            f"{path} contains no {KIND} ({API_VERSION}); see examples/ for templates."
        )
    return [_created(item, path, namespace, uid) for item in found]


def one(path: Path, namespace: str | None) -> Object:
    """Return the only resource of a file.

    Raises:
        CommandError: The file has none or several, or the API server would reject it.
    """
    found = read(path, namespace, None)
    if len(found) > 1:
        names = ", ".join(item["metadata"]["name"] for item in found)
        raise CommandError(f"{path} contains several resources ({names}): use a file with one.")
    return found[0]


def _is_ours(item: Any) -> bool:
    return isinstance(item, dict) and item.get("kind") == KIND


def _created(item: Object, path: Path, namespace: str | None, uid: str | None) -> Object:
    if item.get("apiVersion") != API_VERSION:
        api_version = item.get("apiVersion")
        raise CommandError(f"{path}: apiVersion {api_version!r} is wrong: write {API_VERSION}.")
    metadata, spec = item.get("metadata"), item.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise CommandError(f"{path}: metadata.name is missing.")
    if not isinstance(spec, dict):
        raise CommandError(f"{path}: spec is missing. The only required field is spec.model.id.")
    schema = _schema()
    if unknown := next(_unknown(spec, schema["properties"]["spec"], "spec"), None):
        raise CommandError(f"{path}: {unknown}")
    whole = rules.with_defaults({"metadata": {"name": metadata["name"]}, "spec": spec}, schema)
    if violation := next(rules.broken(whole, schema), None):
        raise CommandError(f"{path}: {violation}.")
    created = {
        "name": metadata["name"],
        "namespace": namespace or metadata.get("namespace") or "default",
        "uid": uid or NOWHERE,
        "generation": 1,
    }
    return {**item, "metadata": created, "spec": spec, "status": {}}


@cache
def _schema() -> Object:
    """Return the OpenAPI schema of a resource."""
    found: Object = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def _unknown(value: Any, schema: Object, where: str) -> Iterator[str]:
    """Yield a message per field that the CRD lacks; the API server rejects them with strict validation."""
    properties = schema.get("properties")
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{where}[{place}]")
    if not isinstance(value, dict) or not properties:
        return
    for name, part in value.items():
        if name not in properties:
            known = ", ".join(sorted(properties))
            yield f"unknown field {where}.{name}. Fields of {where}: {known}."
        else:
            yield from _unknown(part, properties[name], f"{where}.{name}")
