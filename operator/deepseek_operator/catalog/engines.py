"""The programs that serve models: their images, what they can do, and what of their command line is taken."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal

from pydantic import Field

from deepseek_operator.api.engine import EngineType
from deepseek_operator.catalog.entries import Entry, built_in, entries

Parallel = Literal["tensor", "pipeline", "expert", "data"]


class Answers(Entry):
    """The counter of HTTP answers.

    Attributes:
        sample: Its name.
        path: The label that has the route.
        status: The label that has the status: a number, or a class such as `5xx`.
    """

    sample: str
    path: str
    status: str


class Metrics(Entry):
    """Names of samples in /metrics.

    Attributes:
        requests: Those whose sum is how many requests run or wait.
        cache: The share of the KV cache that is in use, from 0 to 1.
        first_token: Histogram of the seconds to the first token.
        between_tokens: Histogram of the seconds between two tokens.
        ends: Counter of ends of requests by `finished_reason`, empty where there is none.
    """

    requests: tuple[str, ...] = Field(min_length=1)
    cache: str
    first_token: str
    between_tokens: str
    answers: Answers
    ends: str = ""


class Parsers(Entry):
    """How answers of some models are taken apart.

    Attributes:
        models: Patterns of the name of the repository, without its organisation.
        reasoning: The engine's name for it; empty: the model does not reason, or not in a known way.
        tools: The same for calls of tools.
    """

    models: tuple[str, ...] = ()
    reasoning: str = ""
    tools: str = ""


class Reserved(Entry):
    """Flags that belong to the operator, and what to write instead of them."""

    flags: tuple[str, ...] = Field(min_length=1)
    instead: str


class EngineEntry(Entry):
    """A program that serves models. The fields are described in engines.yaml."""

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
        """How answers of a model are taken apart; empty where nothing is known of it."""
        name = model_id.rpartition("/")[2]
        fitting = (
            parsers
            for parsers in self.parsers
            if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in parsers.models)
        )
        return next(fitting, Parsers())


@cache
def engines() -> Mapping[EngineType, EngineEntry]:
    """The catalogue's engines by `spec.engine.type`.

    Raises:
        EntryError: An entry is wrong.
    """
    return entries("engines", EngineEntry, built_in("engines")["engines"])  # type: ignore[return-value]
