"""`spec.engine`: the inference engine that serves the model."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.section import Section

EngineType = Literal["transformers", "vllm", "sglang"]


class Variable(Section):
    """Environment variable of the model server."""

    name: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
        description="Name of the environment variable.",
    )
    value: str = Field(
        default="", max_length=4096, description="Value of the variable. Default: empty."
    )


class Engine(Section):
    """Inference engine that serves the model. Default: the bundled model server."""

    type: EngineType = Field(
        default="transformers",
        description=(
            "Inference engine. transformers: the bundled model server. "
            "vllm, sglang: vLLM or SGLang, on NVIDIA GPUs only."
        ),
    )
    image: str = Field(
        default="",
        max_length=512,
        pattern=r"^\S*$",
        description=(
            "Image of the model server. Default: the image that the operator was installed with; "
            "for vllm and sglang the upstream image of the release in the operator's catalogue."
        ),
    )
    args: list[Annotated[str, Field(max_length=4096)]] = Field(
        default=[],
        max_length=64,
        description=(
            "Additional command line arguments of the model server, appended to the operator's. "
            "Flags that other fields of the spec control are rejected. Default: none."
        ),
    )
    env: list[Variable] = Field(
        default=[],
        max_length=64,
        description=(
            "Environment variables of the model server; they override the operator's variables of "
            "the same name. For secrets use podTemplate with valueFrom. Default: none."
        ),
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
