"""Generated requests: the lengths of prompts and answers, and the prompts' tokens.

The tokens of a prompt are drawn for every request, so that a prefix cache has no effect, unless a
common prefix is requested.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

# First id of plain tokens, in generated vocabularies and in DeepSeek's.
FIRST_TOKEN = 256
# Spread of log-normal lengths: the median is 0.73 of the mean, the 99th percentile 4.7 means.
SIGMA = 0.8
LONGEST = 8  # times the mean


def vocabulary(config: Mapping[str, Any]) -> int:
    """Return the id below which every token from FIRST_TOKEN on is a plain token of the model.

    In generated vocabularies, as in DeepSeek's, special tokens are the first or the last ones.
    """
    size: int = config["vocab_size"]
    special: list[int] = []
    for name in ("bos_token_id", "eos_token_id"):
        value = config.get(name)
        special += value if isinstance(value, list) else [] if value is None else [value]
    return min([size, *(token for token in special if token > FIRST_TOKEN)])


@dataclass(frozen=True)
class Length:
    """A number of tokens, fixed or random.

    Attributes:
        mean: mean number of tokens.
        drawn: whether numbers are drawn from a log-normal distribution; otherwise all are the mean.
    """

    mean: int
    drawn: bool = False

    @classmethod
    def parse(cls, text: str) -> "Length":
        """Parse `512` or `lognormal:512`.

        Raises:
            ValueError: the text is neither.
        """
        kind, separator, number = text.rpartition(":")
        if not number.isdigit() or int(number) < 1 or (separator and kind != "lognormal"):
            raise ValueError(f"{text!r} is not a length: write 512, or lognormal:512 for a mean")
        return cls(int(number), drawn=bool(separator))

    def sample(self, random: Random) -> int:
        """Return one length, at least 1 and at most LONGEST means."""
        if not self.drawn:
            return self.mean
        middle = math.log(self.mean) - SIGMA**2 / 2
        drawn = round(random.lognormvariate(middle, SIGMA))
        return min(max(drawn, 1), LONGEST * self.mean)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to send.

    Attributes:
        tokens: tokens of the prompt.
        max_tokens: maximum tokens of the answer.
    """

    tokens: tuple[int, ...]
    max_tokens: int


@dataclass(frozen=True)
class Prompts:
    """Generator of similar requests.

    Attributes:
        input: tokens of a prompt.
        output: tokens of an answer.
        vocabulary: prompts consist of tokens from FIRST_TOKEN up to, but excluding, this one.
        prefix: number of tokens of the common prefix of all prompts of one `draw`.
        seed: the same seed gives the same requests.
    """

    input: Length
    output: Length
    vocabulary: int
    prefix: int = 0
    seed: int = 0

    def draw(self) -> Iterator[Prompt]:
        """Return an infinite sequence of requests."""
        random = Random(self.seed)  # noqa: S311 - nothing secret
        prefix = self._tokens(random, self.prefix)
        while True:
            own = self._tokens(random, self.input.sample(random))
            yield Prompt(prefix + own, self.output.sample(random))

    def _tokens(self, random: Random, count: int) -> tuple[int, ...]:
        return tuple(random.choices(range(FIRST_TOKEN, self.vocabulary), k=count))
