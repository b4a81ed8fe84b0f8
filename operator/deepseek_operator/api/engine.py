"""`spec.engine`: the program that serves the model."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.section import Section

EngineType = Literal["transformers", "vllm", "sglang"]


class Variable(Section):
    """An environment variable."""

    name: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
        description="Name of the variable.",
    )
    value: str = Field(default="", max_length=4096, description="Its value.")


class Engine(Section):
    """The program that serves the model. Default: the bundled model server."""

    type: EngineType = Field(
        default="transformers",
        description=(
            "Which program it is. transformers: the bundled model server. "
            "vllm, sglang: theirs, on GPUs of NVIDIA only."
        ),
    )
    image: str = Field(
        default="",
        max_length=512,
        pattern=r"^\S*$",
        description=(
            "Image of the model server. Empty: the one that came with the operator; "
            "for vllm and sglang their own, of the release that the operator knows."
        ),
    )
    args: list[Annotated[str, Field(max_length=4096)]] = Field(
        default=[],
        max_length=64,
        description=(
            "Further command line arguments of the model server, after the operator's own. "
            "What other fields of the resource say is refused here."
        ),
    )
    env: list[Variable] = Field(
        default=[],
        max_length=64,
        description=(
            "Environment variables of the model server; one of the operator's own with the same "
            "name is replaced. What is secret belongs into podTemplate, as valueFrom."
        ),
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
