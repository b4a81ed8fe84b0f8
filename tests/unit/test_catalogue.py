"""Tests that the catalogue's sizes are those of the real models and of the server's KV cache.

Every published shape is built without memory for its weights, and its parameters are counted.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from deepseek_operator.catalog.entries import built_in
from deepseek_operator.catalog.models import FP4, FP8, PLAIN, Model, models
from deepseek_operator.catalog.shape import ATTENTION
from deepseek_server.models.footprint import Footprint
from deepseek_server.models.layers import compressed
from deepseek_server.models.registry import ARCHITECTURES
from deepseek_server.models.runners.paged import heads_of

CATALOGUE = built_in("models")
# The first repository of each shape.
SHAPES = {
    size["repositories"][0]: size["config"]
    for family in CATALOGUE["families"]
    for size in family["sizes"]
    if "config" in size
}


def model_of(config: dict[str, Any], **changes: Any) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**config, **changes}))


@dataclass
class Shape:
    """Published shape in the catalogue, and its model built without memory."""

    known: Model
    config: dict[str, Any]
    model: PreTrainedModel


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    config = SHAPES[request.param]
    known = models().get(f"{models().organisation}/{request.param}")
    assert known is not None
    with torch.device("meta"):
        model = model_of(config)
    return Shape(known, config, model)


def test_parameters_are_those_of_transformers(shape: Shape) -> None:
    count = sum(parameter.numel() for parameter in shape.model.parameters())
    assert shape.known.parameters == pytest.approx(count, rel=0.0005)


def test_weight_bytes_are_those_of_the_checkpoint(shape: Shape) -> None:
    if shape.known.weights == "bf16":
        assert shape.known.weight_bytes == 2 * shape.known.parameters
    else:
        assert shape.known.weight_bytes == pytest.approx(published_bytes(shape), rel=0.005)


def test_cache_bytes_are_those_of_the_server(shape: Shape) -> None:
    if compressed.fits(shape.model):
        kept = compressed.shape_of(shape.model.config)
        per_token = -(-kept.of_tokens(kept.stretch) * 2 // kept.stretch)
        footprint = Footprint(kept.of_sequence * 2, per_token)
    else:
        values = heads_of(shape.model).cached_values
        footprint = Footprint(0, shape.model.config.num_hidden_layers * values * 2)
    known = shape.known.shape
    assert known.cache_per_token == footprint.per_token
    assert known.cache_per_sequence == footprint.per_sequence


def test_kinds_of_attention_are_those_of_the_server() -> None:
    assert {name: known.path for name, known in ARCHITECTURES.items()} == ATTENTION


def test_models_without_a_shape_are_not_served() -> None:
    sizes = [size for family in CATALOGUE["families"] for size in family["sizes"]]
    without = {name for size in sizes if "config" not in size for name in size["repositories"]}
    assert without == {"deepseek-moe-16b-base", "deepseek-moe-16b-chat", "DeepSeek-V4.1-Flash"}
    assert models().knows("deepseek-ai/DeepSeek-V4.1-Flash")
    assert models().get("deepseek-ai/DeepSeek-V4.1-Flash") is None


def published_bytes(shape: Shape) -> float:
    """Return the bytes of a checkpoint in DeepSeek's layout, with the layer for multi-token prediction.

    That layer has an additional matrix that combines two hidden states; in V3's checkpoint also
    copies of the embedding and the head (https://github.com/deepseek-ai/DeepSeek-V3,
    README_WEIGHTS.md).
    """
    hidden, layers = shape.config["hidden_size"], shape.config["num_hidden_layers"]
    with torch.device("meta"):
        longer = model_of(shape.config, num_hidden_layers=layers + 1)
    copies = 0 if shape.config["model_type"] == "deepseek_v4" else 2 * shape.config["vocab_size"]
    expert = FP4 if shape.known.weights == "fp4" else FP8
    return layout_bytes(longer, expert) + 2 * hidden**2 * FP8 + copies * hidden * PLAIN


def layout_bytes(model: PreTrainedModel, expert: float) -> float:
    """Return the bytes of a model with projections in fp8, experts of a given size, the rest in bf16."""
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }
    total = 0.0
    for name, parameter in model.named_parameters():
        bytes_each = expert if ".experts." in name else FP8 if name in linear else PLAIN
        total += parameter.numel() * bytes_each
    return total
