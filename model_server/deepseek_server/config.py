"""The server's configuration file: the contract with the operator, which writes it.

The file is JSON with camelCase names and a version. Whatever it does not know it refuses, so that
a server never runs with half of what somebody asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from deepseek_server.errors import PermanentError

VERSION = 1
# Ranks of pods that have met need no longer to meet, on a slow machine.
RANK_SECONDS = 300.0

ToolFormat = Literal["auto", "none", "deepseek-v3", "deepseek-v3.1", "deepseek-v3.2", "hermes"]
Reasoning = Literal["auto", "on", "off"]


class Section(BaseModel):
    """What all parts of the file have in common."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True
    )


class HuggingFaceSource(Section):
    """A model hub; the empty endpoint is the public one. A token is read from HF_TOKEN."""

    endpoint: str = ""


class Source(Section):
    """Where the model's files come from: exactly one of its fields is set."""

    hugging_face: HuggingFaceSource | None = None
    path: Path | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.hugging_face is None) == (self.path is None):
            raise ValueError("give exactly one of huggingFace and path")
        return self


class ModelConfig(Section):
    """Which model is served, and how."""

    id: str = Field(min_length=1)
    served_name: str = ""
    revision: str = Field("main", min_length=1)
    max_context: int | None = Field(None, ge=1)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    source: Source = Source(hugging_face=HuggingFaceSource())
    tool_format: ToolFormat = "auto"
    reasoning: Reasoning = "auto"

    @property
    def name(self) -> str:
        """What clients put into `model`: the served name, or else the id."""
        return self.served_name or self.id


class Listen(Section):
    """Where the HTTP server listens; port 0 takes a free one."""

    host: str = Field(default="0.0.0.0", min_length=1)  # noqa: S104 - pods are reached from outside
    port: int = Field(default=8000, ge=0, le=65535)


class Tracing(Section):
    """Where a trace of every request goes: an OTLP collector, over HTTP."""

    endpoint: str = Field(pattern=r"^https?://")


class Preflight(Section):
    """What is asked of the network between the pods of a gang before weights are read.

    Attributes:
        policy: whether a network that is too slow ends the start or is only told of.
        min_gigabytes_per_second: of an all-reduce over all ranks, as algorithm bandwidth; None asks
            for nothing.
    """

    policy: Literal["fail", "warn"] = "fail"
    min_gigabytes_per_second: float | None = Field(default=None, ge=0)


class Gang(Section):
    """Several pods that compute one model together, as a LeaderWorkerSet starts them.

    Attributes:
        pods: how many there are; each has the same number of the model's ranks.
        port: where the leader awaits the others.
        meet_seconds: how long pods wait for each other at the start.
        silence_seconds: after so long without a word of a rank the others end.
        preflight: what is asked of the network.
        holds: a file that says which groups shall not run at the moment.
    """

    pods: int = Field(ge=2, le=64)
    port: int = Field(29500, ge=1, le=65535)
    meet_seconds: float = Field(600, gt=0)
    silence_seconds: float = Field(30, gt=0)
    preflight: Preflight = Preflight()
    holds: Path | None = None

    @property
    def rank_seconds(self) -> float:
        """How long ranks wait for each other once all pods are there.

        They have only torch to load. A pod that was replaced right after it had come is missed by
        that, and by nothing else.
        """
        return min(self.meet_seconds, RANK_SECONDS)


class Config(Section):
    """The whole file."""

    version: Literal[1] = 1
    model: ModelConfig
    listen: Listen = Listen()
    device: Literal["cpu", "cuda"] = "cpu"
    attention: Literal["auto", "sdpa", "flashinfer"] = "auto"
    tensor_parallel: int = Field(1, ge=1, le=64)
    drain_seconds: float = Field(30, ge=0)
    start_seconds: float | None = Field(None, gt=0)
    request_timeout_seconds: float | None = Field(None, ge=0)
    api_keys_file: Path | None = None
    tracing: Tracing | None = None
    gang: Gang | None = None

    @model_validator(mode="after")
    def _ranks_divide_among_pods(self) -> Self:
        if self.gang is not None and self.tensor_parallel % self.gang.pods:
            each, left = divmod(self.tensor_parallel, self.gang.pods)
            raise ValueError(
                f"tensorParallel {self.tensor_parallel} is not divisible by gang.pods "
                f"{self.gang.pods} ({self.gang.pods} x {each} + {left}): every pod computes the "
                "same number of ranks, so give a multiple of the pods"
            )
        return self

    @property
    def ranks_per_pod(self) -> int:
        """How many processes compute in each pod."""
        return self.tensor_parallel // (1 if self.gang is None else self.gang.pods)

    @property
    def digest(self) -> str:
        """A short name of all that the pods of a gang must agree on.

        Where each listens is its own affair.
        """
        content = self.model_dump_json(by_alias=True, exclude={"listen"})
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def read_file(path: Path) -> dict[str, Any]:
    """The JSON object in a configuration file, not yet validated.

    Raises:
        PermanentError: the file is missing, unreadable, or not a JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise PermanentError(
            f"the configuration file {path} cannot be read ({error.strerror}): "
            "give an existing file with --config"
        ) from error
    except ValueError as error:
        raise PermanentError(f"the configuration file {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise PermanentError(f"the configuration file {path} holds no JSON object")
    return content


def validate(content: Mapping[str, Any], where: str) -> Config:
    """The configuration, or a sentence about every field that is wrong.

    Args:
        content: the fields as in the file.
        where: what a person has to edit, for the message.

    Raises:
        PermanentError: a field is unknown, missing or has a wrong value.
    """
    version = content.get("version", VERSION)
    if version != VERSION:
        raise PermanentError(
            f"{where} has version {version!r}, but this server reads version {VERSION}: "
            "use the model server and the operator of one release"
        )
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise PermanentError(f"{where} is not valid: {problems(error)}") from error


def problems(error: ValidationError) -> str:
    """Every field that is wrong, and how, in one sentence."""
    return "; ".join(_describe(problem) for problem in error.errors())


def _describe(problem: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "the file"
    match problem["type"]:
        case "extra_forbidden":
            return f"{field} is not a field that this server knows"
        case "missing":
            return f"{field} is missing"
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            return f"{field}: {message[0].lower()}{message[1:]}"
