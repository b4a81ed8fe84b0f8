"""From logits to tokens, for a whole batch on the logits' device.

A sampled token is where one uniform number falls in the distribution. The number depends on the
sequence's seed and on how many tokens it has, and on nothing else: the same request draws the same
numbers in whatever company it runs, and again after a preemption.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deepseek_server.engine.interface import Sampling

_MASK = 2**64 - 1
_WEYL = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio


@dataclass(frozen=True)
class Draw:
    """The choice of one token.

    Attributes:
        sampling: how the request wants its tokens chosen.
        seed: 64 bits of the sequence's own.
        index: tokens that the sequence has generated before.
        tokens: the sequence, prompt first, as far as it is known.
        prompt: how many of those are the prompt.
        mask: packed bits of the tokens that a grammar allows.
    """

    sampling: Sampling
    seed: int
    index: int
    tokens: Sequence[int] = ()
    prompt: int = 0
    mask: torch.Tensor | None = None


@dataclass(frozen=True)
class Chosen:
    """Tokens on the device.

    Attributes:
        tokens: [n].
    """

    tokens: torch.Tensor

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All there is."""
        return (self.tokens,)


class Sampler:
    """Chooses tokens.

    Args:
        eos_token_ids: the model's end tokens, which `min_tokens` rules out.
    """

    def __init__(self, eos_token_ids: frozenset[int]) -> None:
        self._eos = sorted(eos_token_ids)

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> Chosen:
        """Choose a token for each row.

        Args:
            logits: one row per draw, [n, vocabulary]; may be changed.
            draws: what is wanted of each row.
        """
        self._rule_out_ends(logits, draws)
        tokens = logits.argmax(dim=-1)
        # How a row is treated depends on that row alone, or its tokens would depend on the others.
        whole: list[int] = []
        nucleus: list[int] = []
        for row, draw in enumerate(draws):
            if draw.sampling.temperature > 0:
                (nucleus if draw.sampling.top_p < 1 else whole).append(row)
        for rows, choose in ((whole, _from_all), (nucleus, _from_nucleus)):
            if rows:
                index = torch.tensor(rows, device=logits.device)
                chosen = [draws[row] for row in rows]
                tokens[index] = choose(logits[index].float(), _Parameters(chosen, logits.device))
        return Chosen(tokens)

    def _rule_out_ends(self, logits: torch.Tensor, draws: Sequence[Draw]) -> None:
        rows = [
            row
            for row, draw in enumerate(draws)
            if draw.index < draw.sampling.min_tokens and not draw.sampling.ignore_eos
        ]
        if rows and self._eos:
            columns = torch.tensor(self._eos, device=logits.device)
            logits[torch.tensor(rows, device=logits.device)[:, None], columns] = -torch.inf


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) for each seed and index: 24 bits, as many as a float32 holds."""
    return (_mix(_mix(seed & _MASK) + index * _WEYL) >> 40) / 2**24


def _mix(number: int) -> int:
    """Spread 64 bits over 64 bits (the finaliser of SplitMix64)."""
    number = (number + _WEYL) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


class _Parameters:
    """What a batch of draws wants, as columns on the device."""

    def __init__(self, draws: Sequence[Draw], device: torch.device) -> None:
        rows = [
            (draw.sampling.temperature, draw.sampling.top_p, uniform(draw.seed, draw.index))
            for draw in draws
        ]
        columns = torch.tensor(rows, dtype=torch.float32).to(device, non_blocking=True)
        self.temperature, self.top_p, self.point = columns.unsqueeze(-1).unbind(1)


def _from_all(logits: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    return _invert(_probabilities(logits, parameters), parameters)[:, 0]


def _from_nucleus(logits: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    """From the likeliest tokens that have the wanted probability together."""
    probabilities, order = _probabilities(logits, parameters).sort(
        dim=-1, descending=True, stable=True
    )
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= parameters.top_p, 0.0)
    return order.gather(1, _invert(probabilities, parameters))[:, 0]


def _probabilities(logits: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    # The greatest logit becomes zero first: a tiny temperature must not make infinities.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / parameters.temperature
    return torch.softmax(scaled, dim=-1)


def _invert(probabilities: torch.Tensor, parameters: _Parameters) -> torch.Tensor:
    """Where the cumulated probabilities pass the draws' uniform numbers, [n, 1]."""
    cumulated = probabilities.cumsum(dim=-1)
    places = torch.searchsorted(cumulated, parameters.point * cumulated[:, -1:], right=True)
    places = places.clamp(max=cumulated.shape[-1] - 1)
    # A parallel sum may fall by a rounding error where nothing is added: never a ruled-out token.
    ruled_out = probabilities.gather(1, places) == 0
    return torch.where(ruled_out, probabilities.argmax(dim=-1, keepdim=True), places)
