"""Catalogue of DeepSeek's published models, so that a mistyped id is rejected before a download."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import Field, field_validator

from deepseek_operator.catalog.entries import Entry, built_in, entries, own
from deepseek_operator.catalog.numbers import count_predictors
from deepseek_operator.catalog.shape import Shape, ShapeError

Weights = Literal["bf16", "fp8", "fp4"]
DTYPES = ("bfloat16", "float16", "float32")

# Bytes of a quantized weight: fp8 has a float32 scale per 128 x 128 weights, fp4 a byte per 32.
FP8 = 1 + 4 / 128**2
FP4 = 0.5 + 1 / 32
PLAIN = 2.0
# Bytes of a weight that stays in float32.
EXACT = 4
# Parts of model names that users often write differently.
IDLE = re.compile(r"deepseek|[^a-z0-9]")


class Entered(Entry):
    """Model entry of the catalogue.

    Attributes:
        config: Fields of its config.json that determine its size.
        weights: Format of its checkpoint.
        weight_bytes: Bytes of the checkpoint, if looked up or computed separately.
        source: Source of the config.json.
    """

    config: dict[str, Any]
    weights: Weights = "bf16"
    weight_bytes: int | None = Field(default=None, gt=0)
    source: str = ""

    @field_validator("config")
    @classmethod
    def _is_a_shape(cls, config: dict[str, Any]) -> dict[str, Any]:
        try:
            Shape(config)
        except ShapeError as error:
            raise ValueError(str(error)) from error
        return config


@dataclass(frozen=True)
class Model:
    """Model of known size.

    Attributes:
        shape: Shape of its layers.
        weights: Format of its checkpoint.
        weight_bytes: Bytes of the checkpoint, which is the size of a download.
        dtype: Data type of the computation according to its config.json.
        read: Whether it comes from the complete config.json of its repository.
        packed_from: NVIDIA's compute capability from which its engine keeps fp8 weights in fp8; None:
            the bundled server's rules.
    """

    shape: Shape
    weights: Weights
    weight_bytes: int
    dtype: str = "bfloat16"
    read: bool = False
    packed_from: tuple[int, int] | None = None

    @property
    def parameters(self) -> int:
        """Parameters of the model as served, without layers for multi-token prediction."""
        return self.shape.numbers.total

    @classmethod
    def of(cls, config: Mapping[str, Any], weights: Weights, weight_bytes: int | None) -> "Model":
        """Create a model from a config.json.

        Raises:
            ShapeError: The config.json is incomplete or not supported.
        """
        shape = Shape(config)
        if weight_bytes is None:
            numbers = shape.numbers + count_predictors(shape)
            packed = {"bf16": PLAIN, "fp8": FP8, "fp4": FP8}[weights]
            expert = FP4 if weights == "fp4" else packed
            plain = numbers.split_plain + numbers.whole_plain + numbers.whole_exact
            matrices = numbers.heads + numbers.split + numbers.whole
            weight_bytes = round(numbers.experts * expert + matrices * packed + plain * PLAIN)
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "")
        return cls(shape, weights, weight_bytes, dtype if dtype in DTYPES else "bfloat16")

    @classmethod
    def of_file(cls, config: Mapping[str, Any]) -> "Model":
        """Create a model from a repository's complete config.json, with its quantization.

        Raises:
            ShapeError: The config.json is incomplete or not supported.
        """
        packing = config.get("quantization_config") or {}
        method = packing.get("quant_method") if isinstance(packing, Mapping) else packing
        if packing and method != "fp8":
            raise ShapeError(f"its quantization is not supported ({method})")
        fp4 = config.get("expert_dtype") == "fp4"
        weights: Weights = "fp4" if packing and fp4 else "fp8" if packing else "bf16"
        return replace(cls.of(config, weights, None), read=True)


class Models:
    """Models by their repository on the hub.

    Args:
        organisation: DeepSeek's organisation on the hub.
        known: Models by repository, None if the bundled server does not serve it.
        as_of: Date of the list.
    """

    def __init__(self, organisation: str, known: Mapping[str, Model | None], as_of: str):
        self.organisation = organisation
        self.as_of = as_of
        self._ids = {name.lower(): name for name in known}
        self._known = {name.lower(): model for name, model in known.items()}
        own_ids = (name for name in known if self.belongs(name))
        self._by_plain_name = {_plain(name): name for name in own_ids}

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids.values())

    def knows(self, model_id: str) -> bool:
        """Return whether an id is in the catalogue, in any case (the hub ignores case, too)."""
        return model_id.lower() in self._ids

    def get(self, model_id: str) -> Model | None:
        """Return the model of an id, None if it is not known."""
        return self._known.get(model_id.lower())

    def belongs(self, model_id: str) -> bool:
        """Return whether an id is in DeepSeek's organisation."""
        return model_id.lower().startswith(f"{self.organisation}/")

    def nearest(self, model_id: str) -> list[str]:
        """Return up to three published ids with similar names, the most similar first.

        An id that differs only in organisation, `deepseek` and punctuation is the only result.
        """
        if meant := self._by_plain_name.get(_plain(model_id)):
            return [meant]
        close = difflib.get_close_matches(model_id.lower(), self._ids, n=3, cutoff=0.6)
        return [self._ids[name] for name in close]

    def meant(self, model_id: str) -> str | None:
        """Return the published id that a name such as `deepseek/R1` means, None if there is none."""
        organisation = model_id.lower().partition("/")[0]
        same = IDLE.sub("", organisation) in ("", "ai")
        return self._by_plain_name.get(_plain(model_id)) if same else None


def _plain(model_id: str) -> str:
    return IDLE.sub("", model_id.lower().rpartition("/")[2])


@cache
def models() -> Models:
    """Return the catalogue's models, including those that the installation adds.

    Raises:
        EntryError: An entry is invalid.
    """
    data = built_in("models")
    known: dict[str, Model | None] = {}
    for family in data["families"]:
        for size in family["sizes"]:
            fields = {key: value for key, value in size.items() if key != "repositories"}
            names = [f"{data['organisation']}/{name}" for name in size["repositories"]]
            model = _model(entries("models", Entered, {names[0]: fields})) if fields else None
            known |= dict.fromkeys(names, model)
    for name, fields in own().models.items():
        known[name] = _model(entries("models", Entered, {name: fields}))
    return Models(data["organisation"], known, data["as_of"])


def _model(entered: dict[str, Entered]) -> Model:
    (entry,) = entered.values()
    return Model.of(entry.config, entry.weights, entry.weight_bytes)
