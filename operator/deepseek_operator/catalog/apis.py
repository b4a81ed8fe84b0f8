"""How APIs that a cluster may lack are installed."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml


@cache
def install_commands() -> Mapping[str, str]:
    """The command that installs the API of a kind, by the kind's name."""
    data = yaml.safe_load(resources.files(__package__).joinpath("apis.yaml").read_text())
    commands: Mapping[str, str] = data["install"]
    return commands
