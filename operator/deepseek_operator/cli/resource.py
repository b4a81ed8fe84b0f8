"""Resources in files, as the API server would take them in."""

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

# What stands for the uid of a resource that is nowhere.
NOWHERE = "00000000-0000-0000-0000-000000000000"


def read(path: Path, namespace: str | None, uid: str | None) -> list[Object]:
    """The resources of a file, each as it would be in a cluster.

    Args:
        path: Of the file, `-` for standard input.
        namespace: Where they would be; None: where they say, else in `default`.
        uid: That they would have; None: nobody knows.

    Raises:
        CommandError: There is none, or the API server would not take one in.
    """
    found = [item for item in documents(path) if _is_ours(item)]
    if not found:
        raise CommandError(
            f"{path} has no {KIND} ({API_VERSION}). examples/ has some to start from."
        )
    return [_created(item, path, namespace, uid) for item in found]


def one(path: Path, namespace: str | None) -> Object:
    """The one resource of a file.

    Raises:
        CommandError: There is none or there are several, or the API server would not take it in.
    """
    found = read(path, namespace, None)
    if len(found) > 1:
        names = ", ".join(item["metadata"]["name"] for item in found)
        raise CommandError(f"{path} has several resources ({names}): give a file with one.")
    return found[0]


def _is_ours(item: Any) -> bool:
    return isinstance(item, dict) and item.get("kind") == KIND


def _created(item: Object, path: Path, namespace: str | None, uid: str | None) -> Object:
    if item.get("apiVersion") != API_VERSION:
        said = item.get("apiVersion")
        raise CommandError(f"{path}: apiVersion is {said!r}, write {API_VERSION}.")
    metadata, spec = item.get("metadata"), item.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise CommandError(f"{path}: metadata.name is missing.")
    if not isinstance(spec, dict):
        raise CommandError(f"{path}: spec is missing. The least is spec.model.id.")
    schema = _schema()
    if unknown := next(_unknown(spec, schema["properties"]["spec"], "spec"), None):
        raise CommandError(f"{path}: {unknown}")
    whole = rules.with_defaults({"metadata": {"name": metadata["name"]}, "spec": spec}, schema)
    if said := next(rules.broken(whole, schema), None):
        raise CommandError(f"{path}: {said}.")
    created = {
        "name": metadata["name"],
        "namespace": namespace or metadata.get("namespace") or "default",
        "uid": uid or NOWHERE,
        "generation": 1,
    }
    return {**item, "metadata": created, "spec": spec, "status": {}}


@cache
def _schema() -> Object:
    """The schema of a resource."""
    found: Object = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def _unknown(value: Any, schema: Object, where: str) -> Iterator[str]:
    """Fields that the CRD does not have; the API server refuses them too where it is asked strictly."""
    properties = schema.get("properties")
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{where}[{place}]")
    if not isinstance(value, dict) or not properties:
        return
    for name, part in value.items():
        if name not in properties:
            known = ", ".join(sorted(properties))
            yield f"{where}.{name} is no field. {where} has: {known}."
        else:
            yield from _unknown(part, properties[name], f"{where}.{name}")
