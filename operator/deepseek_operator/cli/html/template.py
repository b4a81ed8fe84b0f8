"""Templates of pages; whatever a value holds, it stays text."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("deepseek_operator.cli.html"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """A page.

    Args:
        name: Of the template.
        values: That it names.

    Raises:
        jinja2.UndefinedError: The template names a value that it was not given.
    """
    return _environment().get_template(name).render(**values)
