"""Measured performance of the bundled server, and the rates fitted to it."""

from functools import cache

from pydantic import Field

from deepseek_operator.catalog.entries import Entry, built_in


class Rates(Entry):
    """Achieved shares of a GPU's peak rates, and overheads of a step.

    Attributes:
        bandwidth: Achieved share of the memory bandwidth.
        arithmetic: Achieved share of the peak TFLOP/s.
        experts: Achieved share of the peak TFLOP/s in a mixture of experts.
        layer: Overhead of a layer, in seconds.
        layer_of_experts: Overhead of a layer with experts, in seconds.
        sequence: Overhead per request, in seconds.
        exchange: Latency of an all-reduce, in seconds, in addition to the time for its bytes.
    """

    bandwidth: float = Field(gt=0, le=1)
    arithmetic: float = Field(gt=0, le=1)
    experts: float = Field(gt=0, le=1)
    layer: float
    layer_of_experts: float
    sequence: float
    exchange: float


class Load(Entry):
    """Closed-loop load: each finished request is followed by the next one.

    Attributes:
        model: Repository, without the organisation.
        gpus: Tensor parallel GPUs.
        at_once: Concurrent requests.
        input: Tokens per prompt.
        output: Tokens per answer.
    """

    model: str
    profile: str
    gpus: int
    at_once: int
    input: int
    output: int


class Point(Load):
    """Throughput of a load: output tokens per second."""

    per_second: float


class Ratio(Load):
    """Throughput of a load relative to one GPU."""

    ratio: float


class Performance(Entry):
    """Performance data of the catalogue.

    Attributes:
        links: GB/s between the GPUs of a node, by kind of GPU.
        measured: Measurements of the bundled server.
        split: Measurements of the bundled server on several GPUs.
        estimated: Third-party estimates of other engines.
    """

    as_of: str
    source: str
    rates: Rates
    links: dict[str, float]
    measured: tuple[Point, ...]
    split: tuple[Ratio, ...]
    estimated: tuple[Point, ...]

    def link(self, profile: str) -> float:
        """Return the bytes per second between two GPUs of a kind."""
        return 1e9 * self.links.get(profile, self.links["other"])


@cache
def performance() -> Performance:
    """Return the catalogue's performance data."""
    return Performance.model_validate(built_in("performance"))
