"""`spec.model`: the model to serve and the source of its weights."""

from typing import Literal

from pydantic import ConfigDict, Field

from deepseek_operator.api.section import Section, rule, validated


class SecretKey(Section):
    """A key of a Secret in the namespace of the resource."""

    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of the Secret, in the namespace of the resource.",
    )
    key: str = Field(
        default="token",
        min_length=1,
        max_length=253,
        description="Key of the Secret that holds the value.",
    )


class HuggingFaceSource(Section):
    """Download from the Hugging Face hub or a mirror of it."""

    token_secret: SecretKey | None = Field(
        default=None,
        description=(
            "Secret with the hub's access token, for gated or private repositories. Default: none."
        ),
    )
    endpoint: str = Field(
        default="",
        max_length=2048,
        pattern=r"^(https?://.+)?$",
        description=(
            "URL of a mirror of the hub, such as http://hub.example:8080. "
            "Default: the operator's setting (chart value hub.endpoint), else the public hub."
        ),
    )


def _stays_inside(field: str) -> ConfigDict:
    return validated(
        rule(
            "!has(self.path) || !self.path.split('/').exists(part, part == '..')",
            f"model.source.{field}.path must not contain '..'",
        )
    )


class HostPathSource(Section):
    """Weights in a directory that exists on every node."""

    model_config = _stays_inside("hostPath")

    path: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^/",
        description=(
            "Absolute path of the model's directory (with config.json) on the nodes. It is mounted "
            "read-only and must be world-readable, because the pods run as an unprivileged user."
        ),
    )


class PvcSource(Section):
    """Weights on a PersistentVolumeClaim, such as a CephFS volume that all replicas share."""

    model_config = _stays_inside("pvc")

    claim_name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of the PersistentVolumeClaim in the namespace of the resource.",
    )
    path: str = Field(
        default="",
        max_length=1024,
        pattern=r"^([^/].*)?$",
        description=(
            "Directory of the model (with config.json), relative to the volume's root. "
            "Default: the root."
        ),
    )


class Source(Section):
    """Source of the weights: exactly one of the fields."""

    model_config = validated(
        rule(
            "[has(self.huggingFace), has(self.hostPath), has(self.pvc)].filter(x, x).size() == 1",
            "model.source needs exactly one of huggingFace, hostPath and pvc",
        )
    )

    hugging_face: HuggingFaceSource | None = Field(
        default=None, description="Download from the Hugging Face hub, or from a mirror of it."
    )
    host_path: HostPathSource | None = Field(
        default=None, description="Directory that exists on every node; nothing is downloaded."
    )
    pvc: PvcSource | None = Field(
        default=None,
        description="PersistentVolumeClaim that holds the weights; nothing is downloaded.",
    )


class Model(Section):
    """Model to serve and source of its weights."""

    model_config = validated(
        rule(
            "(has(self.source) && !has(self.source.huggingFace))"
            " || self.id.matches('^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$')",
            "model.id must be a hub repository such as deepseek-ai/DeepSeek-R1-Distill-Qwen-7B;"
            " any other name needs model.source.hostPath or model.source.pvc",
            "'model.id must be a hub repository such as deepseek-ai/'"
            " + (self.id.contains('/') ? 'DeepSeek-R1-Distill-Qwen-7B' : self.id)"
            " + '; any other name needs model.source.hostPath or model.source.pvc'",
        )
    )

    id: str = Field(
        min_length=1,
        max_length=200,
        description=(
            "Hub repository of the model, such as deepseek-ai/DeepSeek-V3. "
            "With a hostPath or pvc source, any name."
        ),
    )
    revision: str = Field(
        default="main",
        min_length=1,
        max_length=200,
        description="Branch, tag or commit of the hub repository. Ignored with hostPath and pvc.",
    )
    served_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description=(
            "Name of the model in the API: clients write it in the field `model` of a request. "
            "Default: model.id."
        ),
    )
    max_context: int | None = Field(
        default=None,
        ge=16,
        le=16_777_216,
        description=(
            "Maximum context length: tokens of prompt and answer together. "
            "Default: the model's own maximum, or less where the GPUs' memory does not hold it."
        ),
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto",
        description=(
            "Data type of the computation. auto: the type in the model's config.json, float16 on "
            "GPUs without bfloat16, float32 on the CPU."
        ),
    )
    source: Source | None = Field(
        default=None, description="Source of the weights. Default: the Hugging Face hub."
    )
