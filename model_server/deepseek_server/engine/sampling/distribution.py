"""Token distributions: weights, filters, and sampling.

Tokens have weights: 1 for the most likely one, 0 for one that must not be sampled. Sampling inverts
the cumulative sum of the weights. The sums use integers: unlike sums of floats they do not depend on
the order in which a device adds, and a seeded request must not depend on the rest of the batch.
"""

import math
from functools import cache
from typing import Any

import torch

from deepseek_server.engine.sampling.rng import BITS
from deepseek_server.kernels.availability import lacking
from deepseek_server.kernels.required import SAMPLING

_UNIT = 2**40  # a weight of 1 as an integer; a weight below 2^-40 is never sampled
_CHUNK = 128  # most vocabularies are a multiple of it
# FlashInfer 0.7 filters shorter rows by another algorithm, which requires sums of 1 and has no
# order-independent mode.
_FEWEST_TOKENS = 2048


def weights_of(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Return the weights of tokens, [n, vocabulary] in float32.

    Args:
        logits: [n, vocabulary] in float32; may be changed.
        temperature: above 0, [n, 1].
    """
    # Subtract the greatest logit first: a tiny temperature must not produce infinities.
    greatest = logits.amax(dim=-1, keepdim=True)
    return logits.sub_(greatest).div_(temperature).exp_()


def keep_top_k(weights: torch.Tensor, top_k: torch.Tensor) -> torch.Tensor:
    """Keep the k greatest weights of each row, and those equal to the smallest of them.

    Args:
        weights: [n, vocabulary]; may be changed.
        top_k: at least 1, int32, [n].
    """
    if flashinfer := _flashinfer(weights):
        return weights.masked_fill_(flashinfer.top_k_renorm_probs(weights, top_k, True) == 0, 0)
    last = top_k.long().clamp(max=weights.shape[-1])[:, None] - 1
    descending = weights.sort(dim=-1, descending=True).values
    return weights.masked_fill_(weights < descending.gather(1, last), 0)


def keep_top_p(weights: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keep the fewest greatest weights that sum to a share p, and those equal to the smallest.

    Args:
        weights: [n, vocabulary]; may be changed.
        top_p: from 0 (only the greatest) to 1, [n].
    """
    if flashinfer := _flashinfer(weights):
        return weights.masked_fill_(flashinfer.top_p_renorm_probs(weights, top_p, True) == 0, 0)
    descending = weights.sort(dim=-1, descending=True).values
    sums = descending.double().cumsum(dim=-1)
    short = sums < top_p.double()[:, None] * sums[:, -1:]
    last = short.sum(dim=-1, keepdim=True).clamp(max=weights.shape[-1] - 1)
    return weights.masked_fill_(weights < descending.gather(1, last), 0)


def keep_min_p(weights: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Keep the weights of at least `min_p` times the greatest one.

    Args:
        weights: [n, vocabulary]; may be changed.
        min_p: from 0 (all) to 1, [n, 1].
    """
    return weights.masked_fill_(weights < min_p, 0)


def draw(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return the tokens that random numbers select, int64 [n].

    Args:
        weights: [n, vocabulary]; may be changed.
        numbers: random numbers from `uniform`, [n].
    """
    rows, vocabulary = weights.shape
    units = weights.mul_(_UNIT).long()
    chunks = math.ceil(vocabulary / _CHUNK)
    if missing := chunks * _CHUNK - vocabulary:
        units = torch.nn.functional.pad(units, (0, missing))
    units = units.view(rows, chunks, _CHUNK)

    # Find the chunk, then the token in it: one pass over the weights instead of a long scan.
    ends = units.sum(dim=-1).cumsum(dim=-1)
    point = _share(ends[:, -1:], numbers.long()[:, None])
    chunk = torch.searchsorted(ends, point, right=True).clamp(max=chunks - 1)
    inside = units.gather(1, chunk[:, :, None].expand(-1, -1, _CHUNK))[:, 0].cumsum(dim=-1)
    start = ends.gather(1, chunk) - inside[:, -1:]
    place = torch.searchsorted(inside, point - start, right=True)
    # Clamped for rows with NaN logits: a token id out of range would end the whole process at the
    # next embedding.
    return (chunk * _CHUNK + place).clamp(max=vocabulary - 1)[:, 0]


def _share(total: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Return floor(total * number / 2^BITS), which is below the total, without 64-bit overflow."""
    high, low = total >> BITS, total & ((1 << BITS) - 1)
    return high * number + (low * number >> BITS)


def _flashinfer(weights: torch.Tensor) -> Any:
    """Return FlashInfer's functions if it can filter these weights, else None."""
    if not weights.is_cuda or weights.shape[-1] < _FEWEST_TOKENS:
        return None
    return _imported()


@cache
def _imported() -> Any:
    if lacking({SAMPLING}, torch.cuda.get_device_capability()):
        return None
    import flashinfer.sampling

    return flashinfer.sampling
