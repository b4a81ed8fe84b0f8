"""Templates that serialise every value, so that no input can become YAML structure."""

import json
import re
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

# JSON escapes characters beyond 16 bits as two surrogates; YAML has one escape for them.
SURROGATES = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")

# libyaml's loader, if PyYAML was built with it, is ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def serialised(value: Any) -> str:
    """Return any value as one YAML flow node on one line."""
    if isinstance(value, Undefined):
        return str(value)  # raises jinja2.UndefinedError, which names the missing value
    if isinstance(value, dict):
        # With "?", because YAML limits keys without it to 1024 characters.
        parts = (f"? {serialised(key)} : {serialised(part)}" for key, part in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(serialised, value))}]"
    return SURROGATES.sub(_joined, json.dumps(value))


def _joined(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF):08x}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("deepseek_operator.render"),
        undefined=StrictUndefined,
        # Runs on the result of every {{ expression }}, so a template can't omit it.
        finalize=serialised,
        autoescape=False,  # noqa: S701 - the output is YAML, escaped by `finalize`
    )


def render(name: str, **values: Any) -> dict[str, Any]:
    """Render a template as a manifest.

    Raises:
        jinja2.UndefinedError: The template uses a value that is missing.
    """
    text = _environment().get_template(name).render(**values)
    manifest: dict[str, Any] = yaml.load(text, Loader=LOADER)  # noqa: S506 - a safe loader
    return manifest
