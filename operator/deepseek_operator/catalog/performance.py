"""How fast the bundled server was measured to be, and the rates that this comes to."""

from functools import cache

from pydantic import Field

from deepseek_operator.catalog.entries import Entry, built_in


class Rates(Entry):
    """What of a GPU is reached, and what a step takes beside that.

    Attributes:
        bandwidth: Share of the memory's.
        arithmetic: Share of the products', `experts` in those of a mixture of experts.
        layer: Seconds of a layer, `layer_of_experts` of one with experts.
        sequence: Seconds for each request.
        exchange: Seconds of a sum over several GPUs, beside its bytes.
    """

    bandwidth: float = Field(gt=0, le=1)
    arithmetic: float = Field(gt=0, le=1)
    experts: float = Field(gt=0, le=1)
    layer: float
    layer_of_experts: float
    sequence: float
    exchange: float


class Load(Entry):
    """A closed load: as soon as an answer ends, the next request begins.

    Attributes:
        model: Repository, without its organisation.
        gpus: That share it.
        at_once: Requests.
        input: Tokens of each prompt.
        output: Tokens of each answer.
    """

    model: str
    profile: str
    gpus: int
    at_once: int
    input: int
    output: int


class Point(Load):
    """What it came to: tokens of all answers in a second."""

    per_second: float


class Ratio(Load):
    """What it came to in terms of one GPU."""

    ratio: float


class Performance(Entry):
    """All that is known of speed.

    Attributes:
        links: GB/s between the GPUs of a node, by their kind.
        measured: With the bundled server.
        split: With the bundled server on several GPUs.
        estimated: By others, of other servers.
    """

    as_of: str
    source: str
    rates: Rates
    links: dict[str, float]
    measured: tuple[Point, ...]
    split: tuple[Ratio, ...]
    estimated: tuple[Point, ...]

    def link(self, profile: str) -> float:
        """Bytes per second between two GPUs of a kind."""
        return 1e9 * self.links.get(profile, self.links["other"])


@cache
def performance() -> Performance:
    """What the catalogue has."""
    return Performance.model_validate(built_in("performance"))
