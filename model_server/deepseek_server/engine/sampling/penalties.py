"""Penalties on tokens that a sequence already has, and the token counts for them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deepseek_server.engine.sampling.rows import Rows

_UNUSED_CALLS = 8  # a sequence may skip some steps


class History:
    """The distinct tokens of one sequence, and how often each occurs in its answer.

    Args:
        tokens: the sequence's own list, prompt first, which only grows. A reference is kept, so that
            no other list can get the same id().
        prompt: number of tokens of the prompt.

    Attributes:
        used: number of the call that used it last.
    """

    def __init__(self, tokens: list[int], prompt: int) -> None:
        self.used = 0
        self._tokens, self._counted = tokens, len(tokens)
        different, places = np.unique(np.array(tokens, dtype=np.int32), return_inverse=True)
        counts = np.bincount(places[prompt:], minlength=len(different))
        self._pairs = np.stack([different, counts.astype(np.int32)], axis=1)
        self._places = {token: place for place, token in enumerate(different.tolist())}

    @property
    def counted(self) -> int:
        """Number of tokens of the list that were counted."""
        return self._counted

    def pairs(self) -> NDArray[np.int32]:
        """Count new tokens and return all tokens and their counts in the answer, interleaved."""
        for token in self._tokens[self._counted :]:
            place = self._places.setdefault(token, len(self._places))
            if place == len(self._pairs):
                self._pairs = np.concatenate([self._pairs, np.zeros((64, 2), dtype=np.int32)])
            self._pairs[place, 0] = token
            self._pairs[place, 1] += 1
        self._counted = len(self._tokens)
        return self._pairs[: len(self._places)].reshape(-1)


class Histories:
    """Cached histories of sequences, so that a step only counts its new tokens."""

    def __init__(self) -> None:
        self._histories: OrderedDict[int, History] = OrderedDict()  # least recently used first
        self._calls = 0

    def pairs(self, sequences: Sequence[tuple[list[int], int]]) -> list[NDArray[np.int32]]:
        """Return the pairs of each sequence; see History.

        Args:
            sequences: the list of tokens and the length of the prompt of each.
        """
        self._calls += 1
        pairs = [self._history(tokens, prompt).pairs() for tokens, prompt in sequences]
        while self._histories:
            key, oldest = next(iter(self._histories.items()))
            if oldest.used > self._calls - _UNUSED_CALLS:
                break
            del self._histories[key]
        return pairs

    def _history(self, tokens: list[int], prompt: int) -> History:
        history = self._histories.get(id(tokens))
        if history is None or history.counted > len(tokens):
            history = self._histories[id(tokens)] = History(tokens, prompt)
        self._histories.move_to_end(id(tokens))
        history.used = self._calls
        return history


@dataclass(frozen=True)
class Penalties:
    """The penalties of some rows of a batch; one value for each of these rows.

    Attributes:
        rows: the rows.
        presence: subtracted from the logits of tokens that are in the answer.
        frequency: subtracted once for each occurrence in the answer.
        repetition: divides the positive logits of tokens in prompt or answer, and multiplies the
            negative ones (Keskar et al., arXiv 1909.05858).
    """

    rows: Rows
    presence: torch.Tensor
    frequency: torch.Tensor
    repetition: torch.Tensor

    def apply(self, logits: torch.Tensor, pairs: torch.Tensor, lengths: torch.Tensor) -> None:
        """Apply the penalties to the logits of the batch in place.

        Args:
            logits: the logits of all rows, [n, vocabulary] in float32.
            pairs: the concatenated result of `Histories.pairs` for these rows, int32.
            lengths: number of pairs of each row, int32.
        """
        tokens, counts = pairs.view(-1, 2).unbind(1)
        numbers = torch.repeat_interleave(lengths, output_size=len(tokens))
        places = numbers if self.rows.index is None else self.rows.index[numbers]
        values = logits[places, tokens]
        repetition = self.repetition[numbers]
        values = torch.where(values > 0, values / repetition, values * repetition)
        values -= self.frequency[numbers] * counts + self.presence[numbers] * (counts > 0)
        logits[places, tokens] = values
