"""Sampling parameters of a batch as tensors; constant while its requests stay the same."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from deepseek_server.engine.sampling.penalties import Penalties
from deepseek_server.engine.sampling.rows import Rows
from deepseek_server.engine.transfer import send
from deepseek_server.engine.types import Sampling

_LEAST_TEMPERATURE = float(np.finfo(np.float32).tiny)  # a lower one would divide by zero


@dataclass(frozen=True)
class Filter:
    """One value for each of some rows."""

    rows: Rows
    values: torch.Tensor


@dataclass(frozen=True)
class Bias:
    """Values to add to single logits; three tensors of the same length."""

    rows: torch.Tensor
    tokens: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Ends:
    """The tokens that a row must not sample while its answer has fewer than `min_tokens`."""

    row: int
    min_tokens: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Parameters:
    """The parameters of a batch; None or empty if no row uses a parameter.

    Built when the batch changes, and used for all steps until the next change.

    Attributes:
        drawn: the rows that are not greedy, and their temperatures.
        min_p: one value for each drawn row.
        top_k: the drawn rows that use it, and their values.
        top_p: the drawn rows that use it, and their values.
        bias: values to add to logits.
        penalties: penalties of the rows that use any.
        ends: end tokens of the rows with `min_tokens`.
        constrained: the rows with a grammar.
        with_logprobs: the rows that request log probabilities.
        alternatives: the largest number of alternatives that one of these requests.
    """

    drawn: Filter | None
    min_p: torch.Tensor | None
    top_k: Filter | None
    top_p: Filter | None
    bias: Bias | None
    penalties: Penalties | None
    ends: tuple[Ends, ...]
    constrained: Rows | None
    with_logprobs: Rows | None
    alternatives: int

    @property
    def plain(self) -> bool:
        """Whether every row is greedy and unmodified."""
        wants = (self.drawn, self.bias, self.penalties, self.ends, self.constrained)
        return not any(wants)

    @classmethod
    def of(
        cls,
        samplings: Sequence[Sampling],
        eos_token_ids: Collection[int],
        vocabulary: int,
        device: torch.device,
    ) -> Self:
        """Build the parameters of a batch.

        Args:
            samplings: the sampling parameters of each row.
            eos_token_ids: the model's end tokens.
            vocabulary: the width of the logits. Tokens beyond it are dropped, because an index out
                of bounds ends a process that uses CUDA.
            device: the device of the logits.
        """
        drawn = _where(samplings, lambda s: s.temperature > 0)
        hot = [samplings[row] for row in drawn]
        top_k = _where(hot, lambda s: 0 < s.top_k < vocabulary)
        top_p = _where(hot, lambda s: s.top_p < 1)
        looking = _where(samplings, _penalises)
        back = [samplings[row] for row in looking]
        constrained = _where(samplings, lambda s: bool(s.grammar))
        with_logprobs = _where(samplings, lambda s: s.logprobs is not None)
        biased = [
            (row, token, value)
            for row, sampling in enumerate(samplings)
            for token, value in sampling.logit_bias
            if 0 <= token < vocabulary
        ]
        (
            drawn_at,
            top_k_at,
            top_p_at,
            looking_at,
            constrained_at,
            with_logprobs_at,
            ks,
            rows,
            tokens,
        ) = send(
            _arrays(
                np.int32,
                *(drawn, top_k, top_p, looking, constrained, with_logprobs),
                [hot[i].top_k for i in top_k],
                [row for row, _, _ in biased],
                [token for _, token, _ in biased],
            ),
            device,
        )
        temperatures, min_ps, top_ps, biases, *penalties = send(
            _arrays(
                np.float32,
                [max(s.temperature, _LEAST_TEMPERATURE) for s in hot],
                [s.min_p for s in hot],
                [hot[i].top_p for i in top_p],
                [value for _, _, value in biased],
                [s.presence_penalty for s in back],
                [s.frequency_penalty for s in back],
                [s.repetition_penalty for s in back],
            ),
            device,
        )
        size = len(samplings)
        return cls(
            drawn=Filter(Rows(drawn, size, drawn_at), temperatures) if drawn else None,
            min_p=min_ps if any(s.min_p > 0 for s in hot) else None,
            top_k=Filter(Rows(top_k, len(hot), top_k_at), ks) if top_k else None,
            top_p=Filter(Rows(top_p, len(hot), top_p_at), top_ps) if top_p else None,
            bias=Bias(rows, tokens, biases) if biased else None,
            penalties=Penalties(Rows(looking, size, looking_at), *penalties) if looking else None,
            ends=tuple(_ends(samplings, eos_token_ids, vocabulary)),
            constrained=Rows(constrained, size, constrained_at) if constrained else None,
            with_logprobs=Rows(with_logprobs, size, with_logprobs_at) if with_logprobs else None,
            alternatives=max((samplings[row].logprobs or 0 for row in with_logprobs), default=0),
        )


def _where(samplings: Sequence[Sampling], wanted: Callable[[Sampling], bool]) -> list[int]:
    return [row for row, sampling in enumerate(samplings) if wanted(sampling)]


def _arrays(kind: type[np.number[Any]], *columns: Sequence[float]) -> list[list[NDArray[Any]]]:
    return [[np.array(column, dtype=kind)] for column in columns]


def _penalises(sampling: Sampling) -> bool:
    return bool(
        sampling.presence_penalty or sampling.frequency_penalty or sampling.repetition_penalty != 1
    )


def _ends(
    samplings: Sequence[Sampling], eos_token_ids: Collection[int], vocabulary: int
) -> Iterator[Ends]:
    """Yield the end tokens of the rows with `min_tokens`."""
    for row, sampling in enumerate(samplings):
        if sampling.min_tokens > 0:
            eos = () if sampling.ignore_eos else eos_token_ids
            tokens = sorted({*eos, *sampling.stop_token_ids})
            existing = tuple(token for token in tokens if 0 <= token < vocabulary)
            if existing:
                yield Ends(row, sampling.min_tokens, existing)
