"""Sampling of tokens from logits, for a whole batch on the logits' device.

A token is sampled by the position of one random number in the distribution. The number depends on the
sequence's seed and on its number of tokens (see engine.sampling.rng), and the processing of a row depends
on that row alone: a request gets the same tokens whatever else is in the batch.

Nothing here waits for the device: the next step can be launched before this one's tokens are known.
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
class SamplingStep:
    """The inputs for sampling one token.

    Attributes:
        sampling: the request's sampling parameters.
        seed: the sequence's seed, 64 bits.
        index: number of tokens generated before, including those in flight.
        tokens: the sequence's own list of all known tokens, prompt first, which only grows; read if
            `sampling.looks_back`.
        prompt: number of tokens of the prompt.
        mask: the tokens that the grammar allows next, packed as in engine.sampling.bitmask; required with
            `sampling.grammar`.
    """

    sampling: Sampling
    seed: int
    index: int
    tokens: list[int]
    prompt: int
    mask: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class SamplerOutput:
    """The sampled token of each row, on the device.

    The log probabilities are those of the model: before bias, penalties, grammar and temperature.
    They are None if no row requests them, and undefined in rows that do not.

    Attributes:
        tokens: int64, [n].
        logprobs: log probabilities of the sampled tokens, float32, [n].
        top_logprobs: log probabilities of the most likely tokens, in descending order, float32,
            [n, k]; k is the largest number of alternatives that a row requests.
        top_tokens: the most likely tokens, int64, [n, k].
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor | None = None
    top_logprobs: torch.Tensor | None = None
    top_tokens: torch.Tensor | None = None


@dataclass(frozen=True)
class _Now:
    """The inputs that change with every step, on the device; empty if no row uses them.

    Attributes:
        numbers: random numbers of the drawn rows.
        pairs: tokens of the penalised rows, and their counts.
        lengths: number of pairs of each of these rows.
        end_rows, end_tokens: rows, and tokens that they must not sample.
        masks: masks of the constrained rows, concatenated.
    """

    numbers: torch.Tensor
    pairs: torch.Tensor
    lengths: torch.Tensor
    end_rows: torch.Tensor
    end_tokens: torch.Tensor
    masks: torch.Tensor


class Sampler:
    """Samples tokens.

    In this order: logit bias and penalties change the model's logits, `min_tokens` and the grammar
    exclude tokens, the temperature divides; then min_p, top_k and top_p filter, each the result of the
    previous one. Tokens as likely as the last one that a filter keeps are kept too.

    Args:
        eos_token_ids: the model's end tokens, which `min_tokens` excludes.
    """

    def __init__(self, eos_token_ids: frozenset[int]) -> None:
        self._eos = tuple(sorted(eos_token_ids))
        self._histories = Histories()

    def parameters(
        self, samplings: Sequence[Sampling], vocabulary: int, device: torch.device
    ) -> Parameters:
        """Return the parameters of a batch; valid while it has the same requests in the same order."""
        return Parameters.of(samplings, self._eos, vocabulary, device)

    def sample(
        self,
        logits: torch.Tensor,
        steps: Sequence[SamplingStep],
        parameters: Parameters | None = None,
    ) -> SamplerOutput:
        """Sample a token for each row.

        Args:
            logits: one row per sampled token, [n, vocabulary]; may be changed.
            steps: the inputs of each row.
            parameters: the parameters of these rows, if they were built before.
        """
        if parameters is None:
            samplings = [step.sampling for step in steps]
            parameters = self.parameters(samplings, logits.shape[1], logits.device)
        with torch.inference_mode():
            if parameters.with_logprobs is None:
                return SamplerOutput(self._sample(logits, steps, parameters))
            model = parameters.with_logprobs.take(logits).log_softmax(dim=-1, dtype=torch.float32)
            tokens = self._sample(logits, steps, parameters)
            return SamplerOutput(
                tokens, *_logprobs(model, tokens, parameters.with_logprobs, parameters.alternatives)
            )

    def _sample(
        self, logits: torch.Tensor, steps: Sequence[SamplingStep], parameters: Parameters
    ) -> torch.Tensor:
        if parameters.plain:
            return logits.argmax(dim=-1)
        now = self._now(logits, steps, parameters)
        logits = _adjusted(logits, parameters, now)
        drawn = parameters.drawn
        if drawn is None:
            return logits.argmax(dim=-1)
        tokens = None if drawn.rows.index is None else logits.argmax(dim=-1)
        weights = distribution.weights_of(drawn.rows.take(logits).float(), drawn.values[:, None])
        picked = distribution.draw(_filtered(weights, parameters), now.numbers)
        return picked if tokens is None else drawn.rows.put(tokens, picked)

    def _now(
        self, logits: torch.Tensor, steps: Sequence[SamplingStep], parameters: Parameters
    ) -> _Now:
        """Collect the inputs of this step, and copy them to the device at once."""
        drawn = [steps[row] for row in parameters.drawn.rows.numbers] if parameters.drawn else []
        looking = parameters.penalties.rows.numbers if parameters.penalties else []
        pairs = self._histories.pairs([(steps[row].tokens, steps[row].prompt) for row in looking])
        constrained = parameters.constrained.numbers if parameters.constrained else []
        early = {
            ends.row: ends.tokens
            for ends in parameters.ends
            if steps[ends.row].index < ends.min_tokens
        }
        masks = [_mask(steps[row], early.pop(row, ()), logits.shape[1]) for row in constrained]
        ends = [(row, token) for row, tokens in early.items() for token in tokens]
        groups = (
            [uniform([step.seed for step in drawn], [step.index for step in drawn])],
            pairs,
            [np.array([len(row) // 2 for row in pairs], dtype=np.int32)],
            [np.array([row for row, _ in ends], dtype=np.int32)],
            [np.array([token for _, token in ends], dtype=np.int32)],
            masks,
        )
        return _Now(*send(groups, logits.device))


def _logprobs(
    model: torch.Tensor, tokens: torch.Tensor, rows: Rows, alternatives: int
) -> list[torch.Tensor]:
    """Return log probabilities of the sampled and of the most likely tokens, and the latter."""
    chosen = model.gather(1, rows.take(tokens)[:, None])[:, 0]
    top = model.topk(min(alternatives, model.shape[1]), dim=-1)
    return [rows.spread(part) for part in (chosen, top.values, top.indices)]


def _mask(step: SamplingStep, ends: Sequence[int], vocabulary: int) -> NDArray[np.int32]:
    """Return the mask of a row without its end tokens, unless only these are left."""
    mask = step.mask
    if mask is None or len(mask) != bitmask.words_for(vocabulary):
        has = "none" if mask is None else f"{len(mask)} words"
        raise ValueError(f"expected a grammar mask for {vocabulary} tokens: got {has}")
    return bitmask.without(mask, ends) if ends else mask


def _adjusted(logits: torch.Tensor, parameters: Parameters, now: _Now) -> torch.Tensor:
    """Return the logits after bias, penalties and excluded tokens."""
    if parameters.bias or parameters.penalties:
        logits = logits.float()  # 16-bit types would round small changes away
    if bias := parameters.bias:
        logits[bias.rows, bias.tokens] += bias.values
    if parameters.penalties:
        parameters.penalties.apply(logits, now.pairs, now.lengths)
    if len(now.end_rows):
        # A tensor, because torch would copy a scalar to the device synchronously.
        logits[now.end_rows, now.end_tokens] = logits.new_full((), -torch.inf)
    if constrained := parameters.constrained:
        masks = now.masks.view(len(constrained.numbers), -1)
        logits = constrained.put(logits, bitmask.forbid(constrained.take(logits), masks))
    return logits


def _filtered(weights: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return the weights of the drawn rows after their filters."""
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
