"""The server's configuration file, which the operator writes.

The file is JSON with camelCase names and a version. Unknown fields are rejected, so that a server
never runs with only a part of the requested configuration.
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
# Time for the ranks to connect once their pods have, generous enough for a slow machine.
RANK_SECONDS = 300.0

ToolFormat = Literal["auto", "none", "deepseek-v3", "deepseek-v3.1", "deepseek-v3.2", "hermes"]
Reasoning = Literal["auto", "on", "off"]


class Section(BaseModel):
    """Base class of all sections of the file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True
    )


class HuggingFaceSource(Section):
    """A model hub; an empty endpoint is the public one. HF_TOKEN holds the access token."""

    endpoint: str = ""


class Source(Section):
    """The source of the model's files; exactly one field is set."""

    hugging_face: HuggingFaceSource | None = None
    path: Path | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.hugging_face is None) == (self.path is None):
            raise ValueError("set exactly one of huggingFace and path")
        return self


class ModelConfig(Section):
    """The model to serve."""

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
        """The model name in the API: the served name, or the id if there is none."""
        return self.served_name or self.id


class Listen(Section):
    """The address of the HTTP server; port 0 selects a free one."""

    host: str = Field(default="0.0.0.0", min_length=1)  # noqa: S104 - pods are reached from outside
    port: int = Field(default=8000, ge=0, le=65535)


class Tracing(Section):
    """The OTLP collector that gets a trace of every request, over HTTP."""

    endpoint: str = Field(pattern=r"^https?://")


class Preflight(Section):
    """Requirements for the network between the pods of a gang, checked before weights are loaded.

    Attributes:
        policy: whether a network that is too slow fails the start or only logs a warning.
        min_gigabytes_per_second: minimum algorithm bandwidth of an all-reduce over all ranks; None
            is no minimum.
    """

    policy: Literal["fail", "warn"] = "fail"
    min_gigabytes_per_second: float | None = Field(default=None, ge=0)


class Gang(Section):
    """Pods of a LeaderWorkerSet that compute one model together.

    Attributes:
        pods: number of pods; each runs the same number of the model's ranks.
        port: port on which the leader waits for the others.
        meet_seconds: time that the pods wait for each other at the start.
        silence_seconds: time without a heartbeat of a rank after which the others end.
        preflight: requirements for the network.
        holds: file that lists the groups that must not start for now.
    """

    pods: int = Field(ge=2, le=64)
    port: int = Field(29500, ge=1, le=65535)
    meet_seconds: float = Field(600, gt=0)
    silence_seconds: float = Field(30, gt=0)
    preflight: Preflight = Preflight()
    holds: Path | None = None

    @property
    def rank_seconds(self) -> float:
        """Time that the ranks wait for each other once all pods have connected.

        They only have to load torch. This timeout alone detects a pod that was replaced right after
        it had connected.
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
                f"{self.gang.pods} ({self.gang.pods} x {each} + {left}): every pod runs the same "
                "number of ranks, so set tensorParallel to a multiple of gang.pods"
            )
        return self

    @property
    def ranks_per_pod(self) -> int:
        """Number of ranks in each pod."""
        return self.tensor_parallel // (1 if self.gang is None else self.gang.pods)

    @property
    def digest(self) -> str:
        """Short hash of the settings that the pods of a gang must agree on.

        The listen address may differ between pods.
        """
        content = self.model_dump_json(by_alias=True, exclude={"listen"})
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def read_file(path: Path) -> dict[str, Any]:
    """Return the JSON object in a configuration file, not yet validated.

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
        raise PermanentError(f"the configuration file {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise PermanentError(f"the configuration file {path} must contain a JSON object")
    return content


def validate(content: Mapping[str, Any], where: str) -> Config:
    """Return the validated configuration.

    Args:
        content: the fields as in the file.
        where: what the user has to edit, for error messages.

    Raises:
        PermanentError: fields are unknown, missing or invalid; the message names all of them.
    """
    version = content.get("version", VERSION)
    if version != VERSION:
        raise PermanentError(
            f"{where} has version {version!r}, but this server supports version {VERSION}: "
            "use the model server and the operator of the same release"
        )
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise PermanentError(f"{where} is not valid: {problems(error)}") from error


def problems(error: ValidationError) -> str:
    """Return one sentence that describes every invalid field."""
    return "; ".join(_describe(problem) for problem in error.errors())


def _describe(problem: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "the file"
    match problem["type"]:
        case "extra_forbidden":
            return f"{field} is not a known field"
        case "missing":
            return f"{field} is missing"
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            return f"{field}: {message[0].lower()}{message[1:]}"
