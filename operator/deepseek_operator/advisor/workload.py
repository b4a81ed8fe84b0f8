"""The expected load of a model."""

from dataclasses import dataclass

# Hours of a month on average.
MONTH = 730.0


@dataclass(frozen=True)
class Load:
    """A load.

    Attributes:
        requests: Requests per second, averaged over the hours with requests.
        input: Tokens of a prompt.
        output: Tokens of an answer.
        burst: Ratio of the peak to that average.
        hours: Hours of a day with requests.
    """

    requests: float
    input: int
    output: int
    burst: float = 2.0
    hours: float = 24.0

    @property
    def peak(self) -> float:
        """Requests per second at the peak."""
        return self.requests * max(self.burst, 1)

    @property
    def share(self) -> float:
        """Share of the month with requests."""
        return self.hours / 24

    @property
    def requests_per_month(self) -> float:
        """Requests per month."""
        return self.requests * 3600 * MONTH * self.share

    @property
    def output_per_month(self) -> float:
        """Output tokens per month."""
        return self.requests_per_month * self.output
