"""The models that DeepSeek has published, so that a mistyped id is answered before a download."""

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

# Bytes of a packed number: fp8 has a float32 for 128 x 128 of them, fp4 a byte for 32.
FP8 = 1 + 4 / 128**2
FP4 = 0.5 + 1 / 32
PLAIN = 2.0
# Of a number that no model computes in fewer.
EXACT = 4
# What names of DeepSeek's models differ in when people write them from memory.
IDLE = re.compile(r"deepseek|[^a-z0-9]")


class Entered(Entry):
    """A model as the catalogue has it.

    Attributes:
        config: What of its config.json decides on its size.
        weights: How its checkpoint is packed.
        weight_bytes: Bytes of the checkpoint, where they were looked up or computed apart.
        source: Where the config.json was read.
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
    """A model whose size is known.

    Attributes:
        shape: Its layers.
        weights: How its checkpoint is packed.
        weight_bytes: Bytes of the checkpoint, which is what a download takes.
        dtype: The type that its config.json says it is to be computed in.
        read: Whether it was made of the whole config.json of its repository.
        packed_from: NVIDIA's compute capability from which its engine keeps fp8 as it is; None: the
            bundled server's own rules.
    """

    shape: Shape
    weights: Weights
    weight_bytes: int
    dtype: str = "bfloat16"
    read: bool = False
    packed_from: tuple[int, int] | None = None

    @property
    def parameters(self) -> int:
        """Numbers in the model as it is served, without layers that predict further tokens."""
        return self.shape.numbers.total

    @classmethod
    def of(cls, config: Mapping[str, Any], weights: Weights, weight_bytes: int | None) -> "Model":
        """A model of a config.json.

        Raises:
            ShapeError: It is of no use.
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
        """A model of a config.json as a repository has it, which also says how weights are packed.

        Raises:
            ShapeError: It is of no use.
        """
        packing = config.get("quantization_config") or {}
        method = packing.get("quant_method") if isinstance(packing, Mapping) else packing
        if packing and method != "fp8":
            raise ShapeError(f"its weights are packed in a way of their own ({method})")
        fp4 = config.get("expert_dtype") == "fp4"
        weights: Weights = "fp4" if packing and fp4 else "fp8" if packing else "bf16"
        return replace(cls.of(config, weights, None), read=True)


class Models:
    """Models by their repository on the hub.

    Args:
        organisation: DeepSeek's own, as the hub has it.
        known: What is known of each repository, None where the bundled server does not serve it.
        as_of: When the list was made.
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
        """Whether an id is a published one, in exactly this spelling (the hub is case-tolerant)."""
        return model_id.lower() in self._ids

    def get(self, model_id: str) -> Model | None:
        """What is known of a model, None where nothing is."""
        return self._known.get(model_id.lower())

    def belongs(self, model_id: str) -> bool:
        """Whether an id claims to be one of DeepSeek's own repositories."""
        return model_id.lower().startswith(f"{self.organisation}/")

    def nearest(self, model_id: str) -> list[str]:
        """Up to three published ids that look like this one, the most similar first.

        One that differs in nothing but the organisation, `deepseek` and punctuation is the one.
        """
        if meant := self._by_plain_name.get(_plain(model_id)):
            return [meant]
        close = difflib.get_close_matches(model_id.lower(), self._ids, n=3, cutoff=0.6)
        return [self._ids[name] for name in close]

    def meant(self, model_id: str) -> str | None:
        """The published id that a name of nobody else's stands for, such as `deepseek/R1`."""
        organisation = model_id.lower().partition("/")[0]
        same = IDLE.sub("", organisation) in ("", "ai")
        return self._by_plain_name.get(_plain(model_id)) if same else None


def _plain(model_id: str) -> str:
    return IDLE.sub("", model_id.lower().rpartition("/")[2])


@cache
def models() -> Models:
    """The catalogue's models, the installation's own among them.

    Raises:
        EntryError: An entry is wrong.
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
