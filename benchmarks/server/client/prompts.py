"""Made-up requests: how long their prompts and answers are, and what the prompts say.

The tokens of a prompt are drawn anew for every request, so that no cache of prefixes helps, except
where a common beginning is asked for.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

# Where the ids of plain tokens begin, in made-up vocabularies and in DeepSeek's.
FIRST_TOKEN = 256
# Spread of log-normal lengths: the median is at 0.73 of the mean, one in a hundred above 4.7 means.
SIGMA = 0.8
LONGEST = 8  # times the mean


def vocabulary(config: Mapping[str, Any]) -> int:
    """Below which id prompts for a model may take any token from FIRST_TOKEN on.

    In the vocabularies that are made here, as in DeepSeek's, special tokens are the last ones or
    the first.
    """
    size: int = config["vocab_size"]
    special: list[int] = []
    for name in ("bos_token_id", "eos_token_id"):
        value = config.get(name)
        special += value if isinstance(value, list) else [] if value is None else [value]
    return min([size, *(token for token in special if token > FIRST_TOKEN)])


@dataclass(frozen=True)
class Length:
    """A number of tokens, fixed or drawn.

    Attributes:
        mean: of the numbers.
        drawn: whether they are drawn, from a log-normal distribution; else all are the mean.
    """

    mean: int
    drawn: bool = False

    @classmethod
    def parse(cls, text: str) -> "Length":
        """From `512` or `lognormal:512`.

        Raises:
            ValueError: the text is neither; says what to write.
        """
        kind, separator, number = text.rpartition(":")
        if not number.isdigit() or int(number) < 1 or (separator and kind != "lognormal"):
            raise ValueError(f"{text!r} is no length: write 512, or lognormal:512 for a mean")
        return cls(int(number), drawn=bool(separator))

    def sample(self, random: Random) -> int:
        """One length, at least 1 and at most LONGEST means."""
        if not self.drawn:
            return self.mean
        middle = math.log(self.mean) - SIGMA**2 / 2
        drawn = round(random.lognormvariate(middle, SIGMA))
        return min(max(drawn, 1), LONGEST * self.mean)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to make.

    Attributes:
        tokens: of the prompt.
        max_tokens: of the answer.
    """

    tokens: tuple[int, ...]
    max_tokens: int


@dataclass(frozen=True)
class Prompts:
    """Requests of a kind.

    Attributes:
        input: tokens of a prompt.
        output: tokens of an answer.
        vocabulary: prompts are made of tokens from FIRST_TOKEN up to, and without, this one.
        prefix: tokens that all prompts of one `draw` begin with.
        seed: the same seed gives the same requests.
    """

    input: Length
    output: Length
    vocabulary: int
    prefix: int = 0
    seed: int = 0

    def draw(self) -> Iterator[Prompt]:
        """Requests without an end."""
        random = Random(self.seed)  # noqa: S311 - nothing secret
        prefix = self._tokens(random, self.prefix)
        while True:
            own = self._tokens(random, self.input.sample(random))
            yield Prompt(prefix + own, self.output.sample(random))

    def _tokens(self, random: Random, count: int) -> tuple[int, ...]:
        return tuple(random.choices(range(FIRST_TOKEN, self.vocabulary), k=count))
