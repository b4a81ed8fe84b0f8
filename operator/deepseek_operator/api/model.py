"""`spec.model`: which model is served and where its weights come from."""

from typing import Literal

from pydantic import ConfigDict, Field

from deepseek_operator.api.section import Section, rule, validated


class SecretKey(Section):
    """One key of a Secret in the namespace of the resource."""

    name: str = Field(min_length=1, max_length=253, description="Name of the Secret.")
    key: str = Field(default="token", min_length=1, max_length=253, description="Key in it.")


class HuggingFaceSource(Section):
    """Weights from the Hugging Face hub or a mirror of it."""

    token_secret: SecretKey | None = Field(
        default=None,
        description="Secret with the access token, for gated or private repositories.",
    )
    endpoint: str = Field(
        default="",
        max_length=2048,
        pattern=r"^(https?://.+)?$",
        description=(
            "URL of a mirror of the hub, such as http://hub.example:8080. "
            "Empty: the operator's default, which is the public hub unless changed."
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
    """Weights that already lie in a directory of every node."""

    model_config = _stays_inside("hostPath")

    path: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^/",
        description=(
            "Absolute path of the model's directory (with config.json) on the nodes. "
            "It is mounted read-only and must be readable for everybody."
        ),
    )


class PvcSource(Section):
    """Weights on a PersistentVolumeClaim, such as a CephFS volume shared by all replicas."""

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
        description="The model's directory (with config.json), relative to the volume's root.",
    )


class Source(Section):
    """Where the weights come from: exactly one of the fields."""

    model_config = validated(
        rule(
            "[has(self.huggingFace), has(self.hostPath), has(self.pvc)].filter(x, x).size() == 1",
            "model.source needs exactly one of huggingFace, hostPath or pvc",
        )
    )

    hugging_face: HuggingFaceSource | None = Field(
        default=None, description="The Hugging Face hub, or a mirror of it."
    )
    host_path: HostPathSource | None = Field(
        default=None, description="A directory that exists on the nodes."
    )
    pvc: PvcSource | None = Field(default=None, description="A PersistentVolumeClaim.")


class Model(Section):
    """Which model is served and where its weights come from."""

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
            "Repository on the hub, such as deepseek-ai/DeepSeek-V3; "
            "with a hostPath or pvc source any name."
        ),
    )
    revision: str = Field(
        default="main",
        min_length=1,
        max_length=200,
        description="Branch, tag or commit of the hub repository.",
    )
    served_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="What clients put into the field `model` of a request. Default: model.id.",
    )
    max_context: int | None = Field(
        default=None,
        ge=16,
        le=16_777_216,
        description=(
            "Most tokens of prompt and answer together. Default: what the model was made for."
        ),
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto",
        description="Number format of the computation. auto: what model and hardware suit best.",
    )
    source: Source | None = Field(
        default=None, description="Where the weights come from. Default: the Hugging Face hub."
    )
