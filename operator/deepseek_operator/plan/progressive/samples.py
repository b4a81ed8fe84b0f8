"""Metrics of a server for the comparison of two revisions, read from its /metrics."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from deepseek_operator.api.engine import EngineType
from deepseek_operator.catalog.engines import Metrics, engines

# Inference endpoints.
PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")
ERROR = "error"
BUSY = "429"


@dataclass(frozen=True)
class Histogram:
    """A histogram of durations.

    Attributes:
        edges: Upper edges of the buckets in seconds, the last one infinite.
        counts: Number of durations in each bucket.
        total: Sum of all durations in seconds.
    """

    edges: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    total: float = 0.0

    @property
    def count(self) -> float:
        """Number of durations."""
        return sum(self.counts)

    def __add__(self, other: "Histogram") -> "Histogram":
        """Return the sum; a histogram with other buckets can't be added and is dropped."""
        if not self.counts or not other.counts or self.edges != other.edges:
            return self if self.counts else other
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.edges, counts, self.total + other.total)

    def since(self, counts: tuple[float, ...], total: float) -> "Histogram":
        """Return the increase since a reading of these counts; everything after a server restart."""
        if len(counts) != len(self.counts) or any(
            now < then for now, then in zip(self.counts, counts, strict=True)
        ):
            return self
        left = tuple(now - then for now, then in zip(self.counts, counts, strict=True))
        return Histogram(self.edges, left, max(0.0, self.total - total))


@dataclass(frozen=True)
class Sample:
    """The metrics of one server, or of a set of them.

    Attributes:
        requests: Answered inference requests, without refused ones (4xx).
        errors: Those that failed, including failures in the middle of a stream.
        refused: Requests refused as client errors (4xx), without those of an overloaded server (429).
    """

    requests: float = 0.0
    errors: float = 0.0
    first_token: Histogram = Histogram()
    between_tokens: Histogram = Histogram()
    refused: float = 0.0

    @property
    def completed(self) -> float:
        """All completed requests, refused ones included."""
        return self.requests + self.refused

    def __add__(self, other: "Sample") -> "Sample":
        return Sample(
            self.requests + other.requests,
            self.errors + other.errors,
            self.first_token + other.first_token,
            self.between_tokens + other.between_tokens,
            self.refused + other.refused,
        )

    def since(self, baseline: "Baseline | None") -> "Sample":
        """Return the increase since a baseline; everything after a server restart."""
        if baseline is None or any(
            now < then
            for now, then in (
                (self.requests, baseline.requests),
                (self.errors, baseline.errors),
                (self.refused, baseline.refused),
            )
        ):
            return self
        return Sample(
            self.requests - baseline.requests,
            self.errors - baseline.errors,
            self.first_token.since(baseline.first_token, baseline.first_token_seconds),
            self.between_tokens.since(baseline.between_tokens, baseline.between_tokens_seconds),
            self.refused - baseline.refused,
        )

    @property
    def baseline(self) -> "Baseline":
        """The baseline at this sample."""
        return Baseline(
            self.requests,
            self.errors,
            self.first_token.counts,
            self.first_token.total,
            self.between_tokens.counts,
            self.between_tokens.total,
            self.refused,
        )


@dataclass(frozen=True)
class Baseline:
    """Baseline of a server's counters at the start of a comparison, small enough for an annotation."""

    requests: float
    errors: float
    first_token: tuple[float, ...]
    first_token_seconds: float
    between_tokens: tuple[float, ...]
    between_tokens_seconds: float
    refused: float

    @property
    def plain(self) -> list[Any]:
        """The baseline as JSON."""
        first, between = map(list, (self.first_token, self.between_tokens))
        parts = [self.requests, self.errors, first, self.first_token_seconds, between]
        return [*parts, self.between_tokens_seconds, self.refused]

    @classmethod
    def of(cls, plain: Any) -> "Baseline":
        """Parse a baseline from JSON.

        Raises:
            TypeError, ValueError: The JSON is not a baseline.
        """
        requests, errors, first, first_seconds, between, between_seconds, refused = plain
        return cls(
            float(requests),
            float(errors),
            tuple(map(float, first)),
            float(first_seconds),
            tuple(map(float, between)),
            float(between_seconds),
            float(refused),
        )


def read(text: str, engine: EngineType) -> Sample | None:
    """Parse a server's /metrics, None if they are not those of its engine."""
    names = engines()[engine].metrics
    wanted = tuple(
        name for name in (names.first_token, names.between_tokens, names.answers.sample, names.ends)
        if name
    )  # fmt: skip
    # The family name of a counter has no suffix.
    families = tuple(name.removesuffix("_total") for name in wanted)
    lines = [
        line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(families)
    ]
    try:
        found = list(text_string_to_metric_families("\n".join(lines) + "\n"))
    except ValueError:
        return None
    samples = [sample for family in found for sample in family.samples]
    if not any(sample.name.startswith(names.first_token) for sample in samples):
        return None
    answered, failed, refused = _answers(samples, names)
    broken = sum(
        sample.value
        for sample in samples
        if names.ends
        and sample.name == names.ends
        and sample.labels.get("finished_reason") == ERROR
    )
    return Sample(
        answered,
        # Error responses and streams that end with an error are in different counters.
        min(answered, max(failed, broken)),
        _histogram(samples, names.first_token),
        _histogram(samples, names.between_tokens),
        refused,
    )


def _answers(samples: Iterable[Any], names: Metrics) -> tuple[float, float, float]:
    answered = failed = refused = 0.0
    for sample in samples:
        if (
            sample.name != names.answers.sample
            or sample.labels.get(names.answers.path) not in PATHS
        ):
            continue
        status = str(sample.labels.get(names.answers.status, ""))
        kind = status[:1]
        if kind in ("2", "5"):
            answered += sample.value
            failed += sample.value if kind == "5" else 0.0
        elif kind == "4" and status != BUSY:
            refused += sample.value
    return answered, failed, refused


def _histogram(samples: Iterable[Any], name: str) -> Histogram:
    """Return a histogram, summed over its labels."""
    below: dict[float, float] = {}
    total = 0.0
    for sample in samples:
        if sample.name == f"{name}_bucket":
            edge = float(sample.labels["le"])
            below[edge] = below.get(edge, 0.0) + sample.value
        elif sample.name == f"{name}_sum" and math.isfinite(sample.value):
            total += sample.value
    edges = tuple(sorted(below))
    if not edges:
        return Histogram()
    cumulated = [0.0, *(below[edge] for edge in edges)]
    return Histogram(edges, tuple(max(0.0, b - a) for a, b in pairwise(cumulated)), total)


def total_increase(samples: Mapping[str, Sample], baselines: Mapping[str, Baseline]) -> Sample:
    """Sum the increases of servers since their baselines; servers without one are skipped."""
    parts = (sample.since(baselines[name]) for name, sample in samples.items() if name in baselines)
    return sum(parts, Sample())
