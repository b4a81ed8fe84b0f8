"""Commands that install optional APIs."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml


@cache
def install_commands() -> Mapping[str, str]:
    """Return the commands that install optional APIs, by kind."""
    data = yaml.safe_load(resources.files(__package__).joinpath("apis.yaml").read_text())
    commands: Mapping[str, str] = data["install"]
    return commands
