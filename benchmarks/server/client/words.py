"""Generated words of one token each, for texts with a given number of tokens.

This holds for the tokenizers of generated models (see tokenizer.py). For others a prompt of n words
has about n tokens or a few times that.
"""

from collections.abc import Iterable

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(number: int) -> str:
    """Return the letters of a word: a to z, then aa to zz, and so on."""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, len(LETTERS))
        letters = LETTERS[digit] + letters
    return letters


def text(numbers: Iterable[int]) -> str:
    """Return a text of words with a leading space each: as many tokens as numbers."""
    return "".join(f" {word(number)}" for number in numbers)
