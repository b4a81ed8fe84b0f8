"""From logits to tokens, for a whole batch on the logits' device.

A sampled token is where one random number falls in the distribution. The number depends on the
sequence's seed and on how many tokens it has (see engine.uniform), and how a row is treated
depends on that row alone: the same request gets the same tokens in whatever company it runs.

Nothing here waits for the device: the next step can be launched before this one's tokens exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deepseek_server.engine.sampling import bitmask, distribution
from deepseek_server.engine.sampling.parameters import Parameters
from deepseek_server.engine.sampling.penalties import Histories
from deepseek_server.engine.sampling.rng import uniform
from deepseek_server.engine.sampling.rows import Rows
from deepseek_server.engine.transfer import send
from deepseek_server.engine.types import Sampling


@dataclass(frozen=True)
class Draw:
    """The choice of one token.

    Attributes:
        sampling: how the request wants its tokens chosen.
        seed: 64 bits of the sequence's own.
        index: tokens that the sequence has generated before, those in flight among them.
        tokens: the sequence's own list of all known tokens, prompt first, which only ever grows;
            read where `sampling.looks_back`.
        prompt: how many of these are the prompt's.
        mask: which tokens the grammar allows now, packed as in engine.bitmask; needed where
            `sampling.grammar`.
    """

    sampling: Sampling
    seed: int
    index: int
    tokens: list[int]
    prompt: int
    mask: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Chosen:
    """A token for each row, on the device.

    The log probabilities are those of the model: before bias, penalties, grammar and temperature.
    They are None where no row asked for them, and mean nothing in the rows that did not.

    Attributes:
        tokens: int64, [n].
        logprobs: of the chosen tokens, float32, [n].
        top_logprobs: of the likeliest tokens, likeliest first, float32, [n, k]; k is the most
            alternatives that a row asked for.
        top_tokens: these tokens, int64, [n, k].
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor | None = None
    top_logprobs: torch.Tensor | None = None
    top_tokens: torch.Tensor | None = None


@dataclass(frozen=True)
class _Now:
    """What differs from step to step, on the device; empty where no row wants it.

    Attributes:
        numbers: random numbers of the drawn rows.
        pairs: tokens that the penalised rows have, and how often.
        lengths: how many pairs each of these rows has.
        end_rows, end_tokens: rows, and tokens that they may not choose.
        masks: the sets of the constrained rows, one after the other.
    """

    numbers: torch.Tensor
    pairs: torch.Tensor
    lengths: torch.Tensor
    end_rows: torch.Tensor
    end_tokens: torch.Tensor
    masks: torch.Tensor


class Sampler:
    """Chooses tokens.

    In this order: logit bias and penalties change the model's logits, `min_tokens` and the grammar
    rule tokens out, the temperature divides; then min_p, top_k and top_p filter, each what the one
    before has left. Tokens as likely as the last one that a filter keeps are kept too.

    Args:
        eos_token_ids: the model's end tokens, which `min_tokens` rules out.
    """

    def __init__(self, eos_token_ids: frozenset[int]) -> None:
        self._eos = tuple(sorted(eos_token_ids))
        self._histories = Histories()

    def parameters(
        self, samplings: Sequence[Sampling], vocabulary: int, device: torch.device
    ) -> Parameters:
        """What a batch wants; good for as long as it has the same requests in the same order."""
        return Parameters.of(samplings, self._eos, vocabulary, device)

    def sample(
        self, logits: torch.Tensor, draws: Sequence[Draw], parameters: Parameters | None = None
    ) -> Chosen:
        """Choose a token for each row.

        Args:
            logits: one row per draw, [n, vocabulary]; may be changed.
            draws: what is wanted of each row.
            parameters: those of these draws, where they were built before.
        """
        if parameters is None:
            samplings = [draw.sampling for draw in draws]
            parameters = self.parameters(samplings, logits.shape[1], logits.device)
        with torch.inference_mode():
            if parameters.told is None:
                return Chosen(self._choose(logits, draws, parameters))
            model = parameters.told.take(logits).log_softmax(dim=-1, dtype=torch.float32)
            tokens = self._choose(logits, draws, parameters)
            return Chosen(tokens, *_told(model, tokens, parameters.told, parameters.alternatives))

    def _choose(
        self, logits: torch.Tensor, draws: Sequence[Draw], parameters: Parameters
    ) -> torch.Tensor:
        if parameters.plain:
            return logits.argmax(dim=-1)
        now = self._now(logits, draws, parameters)
        logits = _adjusted(logits, parameters, now)
        drawn = parameters.drawn
        if drawn is None:
            return logits.argmax(dim=-1)
        tokens = None if drawn.rows.index is None else logits.argmax(dim=-1)
        weights = distribution.weights_of(drawn.rows.take(logits).float(), drawn.values[:, None])
        picked = distribution.draw(_filtered(weights, parameters), now.numbers)
        return picked if tokens is None else drawn.rows.put(tokens, picked)

    def _now(self, logits: torch.Tensor, draws: Sequence[Draw], parameters: Parameters) -> _Now:
        """Gather what this step needs, and send it in one copy."""
        drawn = [draws[row] for row in parameters.drawn.rows.numbers] if parameters.drawn else []
        looking = parameters.penalties.rows.numbers if parameters.penalties else []
        pairs = self._histories.pairs([(draws[row].tokens, draws[row].prompt) for row in looking])
        constrained = parameters.constrained.numbers if parameters.constrained else []
        early = {
            ends.row: ends.tokens
            for ends in parameters.ends
            if draws[ends.row].index < ends.min_tokens
        }
        masks = [_mask(draws[row], early.pop(row, ()), logits.shape[1]) for row in constrained]
        ends = [(row, token) for row, tokens in early.items() for token in tokens]
        groups = (
            [uniform([draw.seed for draw in drawn], [draw.index for draw in drawn])],
            pairs,
            [np.array([len(row) // 2 for row in pairs], dtype=np.int32)],
            [np.array([row for row, _ in ends], dtype=np.int32)],
            [np.array([token for _, token in ends], dtype=np.int32)],
            masks,
        )
        return _Now(*send(groups, logits.device))


def _told(
    model: torch.Tensor, tokens: torch.Tensor, rows: Rows, alternatives: int
) -> list[torch.Tensor]:
    """Log probabilities of the chosen and of the likeliest tokens, and the latter."""
    chosen = model.gather(1, rows.take(tokens)[:, None])[:, 0]
    top = model.topk(min(alternatives, model.shape[1]), dim=-1)
    return [rows.spread(part) for part in (chosen, top.values, top.indices)]


def _mask(draw: Draw, ends: Sequence[int], vocabulary: int) -> NDArray[np.int32]:
    """The set of a constrained row; where the grammar is complete, it may end in spite of all."""
    mask = draw.mask
    if mask is None or len(mask) != bitmask.words_for(vocabulary):
        has = "none" if mask is None else f"{len(mask)} words"
        raise ValueError(
            f"a grammar's mask for {vocabulary} tokens was expected, but there is {has}"
        )
    return bitmask.without(mask, ends) if ends else mask


def _adjusted(logits: torch.Tensor, parameters: Parameters, now: _Now) -> torch.Tensor:
    """The logits after bias, penalties, and what must not be chosen."""
    if parameters.bias or parameters.penalties:
        logits = logits.float()  # short types would round small changes away
    if bias := parameters.bias:
        logits[bias.rows, bias.tokens] += bias.values
    if parameters.penalties:
        parameters.penalties.apply(logits, now.pairs, now.lengths)
    if len(now.end_rows):
        # A tensor, because torch would copy a number to the device and wait for that.
        logits[now.end_rows, now.end_tokens] = logits.new_full((), -torch.inf)
    if constrained := parameters.constrained:
        masks = now.masks.view(len(constrained.numbers), -1)
        logits = constrained.put(logits, bitmask.forbid(constrained.take(logits), masks))
    return logits


def _filtered(weights: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """The weights of the drawn rows after their filters."""
    if parameters.min_p is not None:
        weights = distribution.keep_min_p(weights, parameters.min_p[:, None])
    for wanted, keep in (
        (parameters.top_k, distribution.keep_top_k),
        (parameters.top_p, distribution.keep_top_p),
    ):
        if wanted is not None:
            kept = keep(wanted.rows.take(weights), wanted.values)
            weights = wanted.rows.put(weights, kept)
    return weights
