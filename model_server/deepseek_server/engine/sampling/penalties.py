"""Which tokens a sequence has already, for penalties on using them again."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deepseek_server.engine.sampling.rows import Rows

_UNUSED_CALLS = 8  # a sequence may sit out some steps


class History:
    """The different tokens of one sequence, and how often its answer has each.

    Args:
        tokens: the sequence's own list, prompt first, which only ever grows. It is kept, so that
            no other list can have its identity.
        prompt: how many of these are the prompt's.

    Attributes:
        used: when it was asked for last.
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
        """How many tokens of the list were counted."""
        return self._counted

    def pairs(self) -> NDArray[np.int32]:
        """Tokens and how often the answer has them, by turns; with all that the list has now."""
        for token in self._tokens[self._counted :]:
            place = self._places.setdefault(token, len(self._places))
            if place == len(self._pairs):
                self._pairs = np.concatenate([self._pairs, np.zeros((64, 2), dtype=np.int32)])
            self._pairs[place, 0] = token
            self._pairs[place, 1] += 1
        self._counted = len(self._tokens)
        return self._pairs[: len(self._places)].reshape(-1)


class Histories:
    """The histories of sequences, so that a step costs no more than its new tokens."""

    def __init__(self) -> None:
        self._histories: OrderedDict[int, History] = OrderedDict()  # the longest unused first
        self._calls = 0

    def pairs(self, sequences: Sequence[tuple[list[int], int]]) -> list[NDArray[np.int32]]:
        """The pairs of each sequence; see History.

        Args:
            sequences: their lists of tokens, and how many of these are the prompt's.
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
    """What some rows of a batch want; one number for each of these rows.

    Attributes:
        rows: which rows.
        presence: taken from the logits of tokens that the answer has.
        frequency: the same for every time that it has them.
        repetition: divides the positive logits of tokens in prompt or answer, and multiplies
            the negative ones (Keskar et al., arXiv 1909.05858).
    """

    rows: Rows
    presence: torch.Tensor
    frequency: torch.Tensor
    repetition: torch.Tensor

    def apply(self, logits: torch.Tensor, pairs: torch.Tensor, lengths: torch.Tensor) -> None:
        """Change the logits of the batch, [n, vocabulary] in float32, in place.

        Args:
            logits: of all rows.
            pairs: what `Histories.pairs` gives for these rows, one after the other, int32.
            lengths: how many pairs each row has, int32.
        """
        tokens, counts = pairs.view(-1, 2).unbind(1)
        numbers = torch.repeat_interleave(lengths, output_size=len(tokens))
        places = numbers if self.rows.index is None else self.rows.index[numbers]
        values = logits[places, tokens]
        repetition = self.repetition[numbers]
        values = torch.where(values > 0, values / repetition, values * repetition)
        values -= self.frequency[numbers] * counts + self.presence[numbers] * (counts > 0)
        logits[places, tokens] = values
