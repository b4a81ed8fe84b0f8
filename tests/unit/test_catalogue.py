"""The catalogue's sizes are those of the real models, and of the cache that the server keeps.

Every published shape is built, without memory for its weights, and its parameters are counted.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from deepseek_operator.catalog.models import Size, models
from deepseek_server.models.footprint import Footprint, measure_cache
from deepseek_server.models.known import ARCHITECTURES
from deepseek_server.models.paged import heads_of

ROOT = Path(__file__).parents[2]
SHAPES = yaml.safe_load((ROOT / "tests/models/configs.yaml").read_text(encoding="utf-8"))
CATALOGUE = yaml.safe_load(
    (ROOT / "operator/deepseek_operator/catalog/models.yaml").read_text(encoding="utf-8")
)
# Bytes of a number: fp8 has a float32 for 128 x 128 of them, fp4 one byte for 32.
BF16, FP8, FP4 = 2.0, 1 + 4 / 128**2, 0.5 + 1 / 32
# What a cache does not depend on, made so small that the model runs.
NARROW = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 16,
    "num_attention_heads": 2,
    "q_lora_rank": 16,
    "o_groups": 2,
    "o_lora_rank": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "index_n_heads": 2,
    "hc_mult": 2,
    "hc_sinkhorn_iters": 1,
}


def model_of(config: dict[str, Any], **changes: Any) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**config, **changes}))


def size_of(name: str) -> Size:
    size = models().size(f"{models().organisation}/{name}")
    assert size is not None
    return size


@dataclass
class Shape:
    """A published shape, built without memory."""

    name: str
    weights: str
    config: dict[str, Any]
    model: PreTrainedModel


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    entry = SHAPES[request.param]
    with torch.device("meta"):
        model = model_of(entry["config"])
    return Shape(request.param, entry.get("weights", "bf16"), entry["config"], model)


def test_parameters(shape: Shape) -> None:
    count = sum(parameter.numel() for parameter in shape.model.parameters())
    assert size_of(shape.name).parameters == pytest.approx(count, rel=0.005)


def test_weights(shape: Shape) -> None:
    size = size_of(shape.name)
    if shape.weights == "bf16":
        assert size.weight_bytes == pytest.approx(2 * size.parameters, rel=0.005)
    else:
        assert size.weight_bytes == pytest.approx(published_bytes(shape), rel=0.005)


def test_cache(shape: Shape) -> None:
    size = size_of(shape.name)
    if ARCHITECTURES[shape.config["model_type"]].path == "whole":
        footprint = measured_footprint(shape)
    else:
        values = heads_of(shape.model).cached_values
        footprint = Footprint(0, shape.model.config.num_hidden_layers * values * 2)
    assert size.cache_bytes_per_token == footprint.per_token
    assert size.cache_bytes_per_sequence == pytest.approx(footprint.per_sequence, rel=0.005)


def measured_footprint(shape: Shape) -> Footprint:
    """The sum over the layers, of which one of each kind is run, narrow where it does not matter."""
    config = shape.model.config
    narrow = {key: NARROW[key] for key in NARROW if hasattr(config, key)}
    total = Footprint(0, 0)
    for kind, count in Counter(config.layer_types).items():
        layer = shape.config | narrow | {"num_hidden_layers": 1, "layer_types": [kind]}
        footprint = measure_cache(model_of(layer, dtype="bfloat16").eval())
        total = Footprint(
            total.per_sequence + count * footprint.per_sequence,
            total.per_token + count * footprint.per_token,
        )
    return total


def test_every_model_that_is_served_has_a_shape() -> None:
    sizes = [entry for family in CATALOGUE["families"] for entry in family["sizes"]]
    with_numbers = [entry for entry in sizes if "parameters" in entry]
    for entry in with_numbers:
        assert sum(name in SHAPES for name in entry["repositories"]) == 1, entry
    without = {
        name for entry in sizes if entry not in with_numbers for name in entry["repositories"]
    }
    assert without == {"deepseek-moe-16b-base", "deepseek-moe-16b-chat", "DeepSeek-V4.1-Flash"}
    assert models().size("deepseek-ai/DeepSeek-V4.1-Flash") is None


def published_bytes(shape: Shape) -> float:
    """Bytes of a checkpoint in DeepSeek's layout, with the layer that predicts a further token.

    That layer has a matrix of its own, which joins two hidden states; in V3's checkpoint also
    copies of the embedding and the head (https://github.com/deepseek-ai/DeepSeek-V3,
    README_WEIGHTS.md).
    """
    hidden, layers = shape.config["hidden_size"], shape.config["num_hidden_layers"]
    with torch.device("meta"):
        longer = model_of(shape.config, num_hidden_layers=layers + 1)
    copies = 0 if shape.config["model_type"] == "deepseek_v4" else 2 * shape.config["vocab_size"]
    expert = FP4 if shape.weights == "fp4" else FP8
    return layout_bytes(longer, expert) + 2 * hidden**2 * FP8 + copies * hidden * BF16


def layout_bytes(model: PreTrainedModel, expert: float) -> float:
    """Projections are in fp8, experts as they are said to be, everything else is in bf16."""
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }
    total = 0.0
    for name, parameter in model.named_parameters():
        bytes_each = expert if ".experts." in name else FP8 if name in linear else BF16
        total += parameter.numel() * bytes_each
    return total
