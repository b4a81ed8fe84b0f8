"""Made-up words that are one token each, so that a text has as many tokens as one likes.

The tokenizers that go with made-up models (see tokenizer.py) know them. For others a prompt of n
words has about n tokens or a few times that.
"""

from collections.abc import Iterable

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(number: int) -> str:
    """The letters of a word: a to z, then aa to zz, and so on."""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, len(LETTERS))
        letters = LETTERS[digit] + letters
    return letters


def text(numbers: Iterable[int]) -> str:
    """Words as they stand in a text, each with its space: as many tokens as numbers."""
    return "".join(f" {word(number)}" for number in numbers)
