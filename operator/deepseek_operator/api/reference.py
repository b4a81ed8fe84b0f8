"""The reference of the custom resource, made from the CRD; `python -m deepseek_operator.api.reference`."""

from collections.abc import Iterator
from typing import Any

from deepseek_operator.api.crd import definition
from deepseek_operator.api.generated import ROOT, write_or_check
from deepseek_operator.api.section import API_VERSION, KIND

PLACE = ROOT / "docs/reference.md"

HEADER = f"""\
<!-- Generated from operator/deepseek_operator/api by `make generate`. Do not edit. -->
# Reference of {KIND}

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `dsd`. `kubectl explain dsd.spec` says the same.
Fields in bold have to be set; a section may be left out where none of its fields has to be.
"""

Schema = dict[str, Any]


def text() -> str:
    """The reference as Markdown."""
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = [HEADER, *_rules(schema)]
    for name in ("spec", "status"):
        lines += _section(name, schema["properties"][name], 2)
    return "\n".join(lines).rstrip() + "\n"


def _section(path: str, schema: Schema, level: int) -> Iterator[str]:
    """A heading, a table of the fields, the rules, and the sections below."""
    yield f"{'#' * level} `{path}`\n"
    yield f"{schema['description']}\n"
    yield "| Field | Type | Default | |"
    yield "| --- | --- | --- | --- |"
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        default = f"`{field['default']}`" if _is_plain(field.get("default")) else ""
        words = _cell(". ".join([field["description"].rstrip("."), *_limits(field)])) + "."
        yield f"| {shown} | {_type(field)} | {default} | {words} |"
    yield ""
    yield from _rules(schema)
    for name, field in schema["properties"].items():
        below, suffix = (field["items"], "[]") if field["type"] == "array" else (field, "")
        if "properties" in below:
            # An item of a list is described by the list.
            below = {"description": field["description"], **below}
            yield from _section(f"{path}.{name}{suffix}", below, min(level + 1, 4))


def _is_plain(default: Any) -> bool:
    return default is not None and not isinstance(default, dict | list)


def _type(field: Schema) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map of {_type(field['additionalProperties'])}"
    return str(field.get("format") if field.get("format") == "date-time" else field["type"])


def _limits(field: Schema) -> list[str]:
    """What the schema says beside the type, as a sentence if there is something."""
    limits = []
    if "minimum" in field and "maximum" in field:
        limits.append(f"from {field['minimum']} to {field['maximum']}")
    elif "minimum" in field:
        limits.append(f"at least {field['minimum']}")
    if "maxLength" in field:
        empty = ", not empty" if field.get("minLength") else ""
        limits.append(f"at most {field['maxLength']} characters{empty}")
    if "maxItems" in field:
        limits.append(f"at most {field['maxItems']} items")
    if "pattern" in field:
        limits.append(f"matches `{field['pattern']}`")
    words = ", ".join(limits)
    return [words[0].upper() + words[1:]] if words else []


def _rules(schema: Schema) -> Iterator[str]:
    """What the API server checks of several fields together, in the words that it answers with."""
    rules = schema.get("x-kubernetes-validations", [])
    if rules:
        yield "Checked when it is applied:\n"
        yield from (f"- {rule['message']}" for rule in rules)
        yield ""


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def main() -> None:
    """Write the reference to its place, or check it there."""
    write_or_check({PLACE: text()})


if __name__ == "__main__":
    main()
