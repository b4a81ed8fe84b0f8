"""The README's table, the server's architectures and the catalogue agree."""

import re
from typing import Any

import pytest
import torch
import transformers
import yaml

from deepseek_server.attention.base import GroupedHeads, LatentHeads, SparseHeads
from deepseek_server.models.layers import compressed
from deepseek_server.models.registry import ARCHITECTURES
from deepseek_server.models.runners.paged import MODEL_TYPES, fits, heads_of
from hack.models.families import FAMILIES, configuration
from tests.support.repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CATALOGUE = yaml.safe_load(
    (ROOT / "operator/deepseek_operator/catalog/models.yaml").read_text(encoding="utf-8")
)
WORDS = {
    "latent": "paged, latent",
    "sparse": "paged, sparse",
    "grouped": "paged, grouped",
    "compressed": "paged, compressed",
}
HEADS = {"latent": LatentHeads, "sparse": SparseHeads, "grouped": GroupedHeads}


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_readme_table_lists_the_supported_architectures() -> None:
    rows = re.findall(
        r"^\| (.+?) \| `(.+?)` \| (.+?) \| .+? \|$",
        section("Supported models"),
        re.MULTILINE,
    )[1:]
    told = {model_type: (models, how) for models, model_type, how in rows}
    known = {name: (known.models, WORDS[known.path]) for name, known in ARCHITECTURES.items()}
    assert told == known


def test_the_paged_cache_supports_architectures_with_a_paged_path() -> None:
    paged = {name for name, known in ARCHITECTURES.items() if known.path != "compressed"}
    assert paged == MODEL_TYPES
    assert set(ARCHITECTURES) - paged == {compressed.MODEL_TYPE}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_path_is_that_of_the_attention(family: str) -> None:
    config = configuration(family)
    path = ARCHITECTURES[config.model_type].path
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert (path == "compressed") == compressed.fits(model) != fits(model)
    if path == "compressed":
        return
    assert type(heads_of(model)) is HEADS[path]


def test_a_tiny_model_of_every_architecture() -> None:
    assert {configuration(family).model_type for family in FAMILIES} == set(ARCHITECTURES)


def test_every_model_of_the_catalogue_is_served_or_named_as_not_served() -> None:
    (sentence,) = re.findall(r"^Not served, .*", section("Supported models"), re.MULTILINE)
    assert set(re.findall(r"\*\*(.+?)\*\*", sentence)) == {
        family["name"] for family in CATALOGUE["families"] if not is_served(family)
    }


def is_served(family: dict[str, Any]) -> bool:
    """Return whether the catalogue has the sizes of a family, which means that it is served."""
    kinds = {size.get("config", {}).get("model_type") for size in family["sizes"]}
    assert kinds == {None} or kinds <= ARCHITECTURES.keys(), family["name"]
    return kinds != {None}
