"""`spec.engine`: the program that serves the model."""

from typing import Annotated

from pydantic import Field

from deepseek_operator.api.section import Section


class Engine(Section):
    """The program that serves the model. Default: the bundled model server."""

    image: str = Field(
        default="",
        max_length=512,
        pattern=r"^\S*$",
        description="Image of the model server. Empty: the one that came with the operator.",
    )
    args: list[Annotated[str, Field(max_length=4096)]] = Field(
        default=[],
        max_length=64,
        description="Further command line arguments of the model server.",
    )
