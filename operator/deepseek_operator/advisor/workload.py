"""The load that a model is to carry."""

from dataclasses import dataclass

# Hours of a month on average.
MONTH = 730.0


@dataclass(frozen=True)
class Load:
    """A load.

    Attributes:
        requests: In a second, on average over the hours in which there are any.
        input: Tokens of a prompt.
        output: Tokens of an answer.
        burst: The peak in terms of that average.
        hours: Of a day in which there are requests.
    """

    requests: float
    input: int
    output: int
    burst: float = 2.0
    hours: float = 24.0

    @property
    def peak(self) -> float:
        """Requests in a second at most."""
        return self.requests * max(self.burst, 1)

    @property
    def share(self) -> float:
        """Of the month in which there are requests."""
        return self.hours / 24

    @property
    def requests_per_month(self) -> float:
        """All of a month."""
        return self.requests * 3600 * MONTH * self.share

    @property
    def output_per_month(self) -> float:
        """Tokens of all answers of a month."""
        return self.requests_per_month * self.output
