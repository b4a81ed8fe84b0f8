"""Catalogue of inference engines: images, features, metric names and reserved flags."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal

from pydantic import Field

from deepseek_operator.api.engine import EngineType
from deepseek_operator.catalog.entries import Entry, built_in, entries

Parallel = Literal["tensor", "pipeline", "expert", "data"]


class Answers(Entry):
    """Counter of HTTP responses.

    Attributes:
        sample: Name of the counter.
        path: Label with the route.
        status: Label with the status: a number, or a class such as `5xx`.
    """

    sample: str
    path: str
    status: str


class Metrics(Entry):
    """Names of samples in /metrics.

    Attributes:
        requests: Samples whose sum is the number of running and waiting requests.
        cache: KV cache usage, from 0 to 1.
        first_token: Histogram of the time to first token, in seconds.
        between_tokens: Histogram of the inter-token latency, in seconds.
        answers: Counter of HTTP responses.
        ends: Counter of finished requests by `finished_reason`, empty if there is none.
    """

    requests: tuple[str, ...] = Field(min_length=1)
    cache: str
    first_token: str
    between_tokens: str
    answers: Answers
    ends: str = ""


class Parsers(Entry):
    """Parsers for the answers of some models.

    Attributes:
        models: Patterns of repository names, without the organisation.
        reasoning: Engine's name of the reasoning parser; empty: the model has no known reasoning format.
        tools: Engine's name of the parser of tool calls; empty: none is known.
    """

    models: tuple[str, ...] = ()
    reasoning: str = ""
    tools: str = ""


class Reserved(Entry):
    """Flags that the operator controls, and what to write instead."""

    flags: tuple[str, ...] = Field(min_length=1)
    instead: str


class EngineEntry(Entry):
    """Inference engine. engines.yaml describes the fields."""

    title: str
    release: str = ""
    image: str = ""
    sources: tuple[str, ...] = ()
    serves: tuple[str, ...]
    sixteen_bit: tuple[str, ...] = ()
    fp8_from: tuple[int, int] | None = None
    serves_from: dict[str, tuple[int, int]] = Field(default={})
    parallelism: tuple[Parallel, ...]
    metrics: Metrics
    parsers: tuple[Parsers, ...] = ()
    reserved: tuple[Reserved, ...] = ()

    def parsers_of(self, model_id: str) -> Parsers:
        """Return the parsers for the answers of a model; empty if none are known."""
        name = model_id.rpartition("/")[2]
        fitting = (
            parsers
            for parsers in self.parsers
            if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in parsers.models)
        )
        return next(fitting, Parsers())


@cache
def engines() -> Mapping[EngineType, EngineEntry]:
    """Return the catalogue's engines by `spec.engine.type`.

    Raises:
        EntryError: An entry is invalid.
    """
    return entries("engines", EngineEntry, built_in("engines")["engines"])  # type: ignore[return-value]
