"""Filters and draws over rows of weights, against simple reference implementations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.engine.sampling import distribution
from deepseek_server.engine.sampling.rng import BITS
from deepseek_server.engine.types import Sampling
from tests.unit.model_server.engine.sampling.chances import chances

UNIT = 2**40
# FlashInfer only filters long rows, so there is one of these.
VOCABULARIES = [1, 7, 128, 300, 5000]


def device() -> torch.device:
    """Test the GPU's filters if there is a GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rows_of_weights(count: int, vocabulary: int, seed: int) -> torch.Tensor:
    logits = 3 * torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed))
    return torch.exp(logits - logits.amax(dim=-1, keepdim=True))


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=400),
    st.integers(0, 2**BITS - 1),
    st.integers(0, 399),
)
def test_a_draw_inverts_the_cumulative_sum(weights: list[float], number: int, top: int) -> None:
    weights[top % len(weights)] = 1.0
    units = [int(weight * UNIT) for weight in weights]
    point, token = sum(units) * number // 2**BITS, 0
    while sum(units[: token + 1]) <= point:
        token += 1
    drawn = distribution.draw(torch.tensor([weights]), torch.tensor([number], dtype=torch.int32))
    assert drawn.tolist() == [token]


def test_rows_of_nan_yield_a_valid_token() -> None:
    for weights in (torch.full((1, 130), torch.nan), torch.zeros(1, 130)):
        for number in (0, 2**BITS - 1):
            drawn = distribution.draw(weights.clone(), torch.tensor([number], dtype=torch.int32))
            assert 0 <= int(drawn) < 130


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("top_k", [1, 2, 50, 6000])
def test_top_k_keeps_the_greatest(vocabulary: int, top_k: int) -> None:
    weights = rows_of_weights(20, vocabulary, seed=top_k).to(device())
    wanted = torch.full((20,), top_k, dtype=torch.int32, device=device())
    kept = distribution.keep_top_k(weights.clone(), wanted)
    assert (kept > 0).sum(dim=-1).tolist() == [min(top_k, vocabulary)] * 20
    for row, original in zip(kept, weights, strict=True):
        left = row[row > 0]
        assert torch.equal(left.sort().values, original.sort().values[-len(left) :])


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("top_p", [0.0, 0.1, 0.9, 0.999])
def test_top_p_keeps_the_fewest_that_make_up_the_share(vocabulary: int, top_p: float) -> None:
    weights = rows_of_weights(20, vocabulary, seed=1).to(device())
    wanted = torch.full((20,), top_p, device=device())
    kept = distribution.keep_top_p(weights.clone(), wanted).cpu()
    for row, original in zip(kept, weights.cpu(), strict=True):
        expected = chances(original.double().log().tolist(), Sampling(1, top_p=max(top_p, 1e-9)))
        # A rounding error may decide about the last token.
        assert abs(int((row > 0).sum()) - np.count_nonzero(expected)) <= 1
        assert row.max() == 1


def test_equal_weights_are_kept_together() -> None:
    weights = torch.tensor([[0.5, 1.0, 0.5, 0.25, 0.5]])
    two, most = torch.tensor([2], dtype=torch.int32), torch.tensor([0.6])
    assert distribution.keep_top_k(weights.clone(), two).tolist() == [[0.5, 1, 0.5, 0, 0.5]]
    assert distribution.keep_top_p(weights.clone(), most).tolist() == [[0.5, 1, 0.5, 0, 0.5]]
