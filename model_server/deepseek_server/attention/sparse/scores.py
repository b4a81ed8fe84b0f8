"""Scores of cached tokens as DeepSeek's indexer computes them, and selection of the best.

A score is the weighted sum over the indexer's heads of relu(query . key), in float32 as in
transformers, with the scales of query and head folded into the weights: relu commutes with a
positive factor. DeepSeek's own code rotates queries and keys by a Hadamard matrix and scores in
fp8; products are the same without the rotation, and transformers omits both.
"""

import torch


def best(
    query: torch.Tensor,
    weights: torch.Tensor,
    keys: torch.Tensor,
    positions: torch.Tensor,
    count: int,
) -> torch.Tensor:
    """Return the positions of the tokens with the highest scores, up to each query's own position.

    Args:
        query: [pieces, queries, heads, dim].
        weights: Weight of each head, float32: [pieces, queries, heads].
        keys: Keys of each piece's sequence by position: [pieces, tokens, dim].
        positions: Position of each query: [pieces, queries].
        count: Number of tokens to select, at most the number of keys.

    Returns:
        Positions in any order, -1 where a query has fewer: [pieces, queries, count].
    """
    pieces, queries, heads, _ = query.shape
    products = _products(query.flatten(1, 2), keys.transpose(1, 2)).relu_()
    weighted = torch.bmm(
        weights.reshape(pieces * queries, 1, heads), products.view(pieces * queries, heads, -1)
    )
    scores = weighted.view(pieces, queries, -1)
    unseen = torch.arange(keys.shape[1], device=keys.device) > positions[..., None]
    found = scores.masked_fill_(unseen, float("-inf")).topk(count, dim=-1)
    return found.indices.masked_fill_(found.values.isneginf(), -1)


def _products(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return [n, q, d] times [n, d, k] in float32."""
    if query.is_cuda and query.dtype != torch.float32:
        # Products of 16-bit numbers are exact in float32, so tensor cores lose no precision.
        return torch.bmm(query, keys, out_dtype=torch.float32)
    return torch.bmm(query.float(), keys.float())
