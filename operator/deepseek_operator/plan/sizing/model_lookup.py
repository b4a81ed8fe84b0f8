"""Lookup of the model that a spec names: its size from the catalogue, or from the hub."""

from dataclasses import dataclass, replace

from deepseek_operator.api.model import HuggingFaceSource
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.engines import engines
from deepseek_operator.catalog.models import Model, models
from deepseek_operator.catalog.shape import ShapeError
from deepseek_operator.plan.state.observed import ConfigFile, Observed
from deepseek_operator.plan.state.settings import Settings


@dataclass(frozen=True)
class Unknown:
    """A model of unknown size.

    Attributes:
        why: The reason, as the second half of a sentence.
    """

    why: str


def hub_of(spec: Spec) -> HuggingFaceSource | None:
    """Return the hub that provides the weights, None if they are on a volume."""
    source = spec.model.source
    return HuggingFaceSource() if source is None else source.hugging_face


def unread(spec: Spec, settings: Settings) -> ConfigFile | None:
    """Return the config.json that has to be read to size the model, None if none has to or can be.

    Args:
        spec: The spec.
        settings: Settings of the installation.
    """
    hub, model = hub_of(spec), spec.model
    if spec.accelerator is None or hub is None or hub.token_secret or models().knows(model.id):
        return None
    if hub.endpoint not in ("", settings.hub_endpoint):
        return None  # otherwise users could make the operator send requests to any address
    return ConfigFile(settings.hub_endpoint, model.id, model.revision)


def known_model(spec: Spec, observed: Observed) -> Model | Unknown:
    """Return the model of a spec, as its engine keeps it in memory, or why it is unknown."""
    model = _model(spec, observed)
    if isinstance(model, Unknown) or spec.engine.type == "transformers":
        return model
    engine, paged = engines()[spec.engine.type], model.shape.paged()
    if paged is None:
        return Unknown(
            f"the operator does not know the memory layout of {spec.model.id} in {engine.title}"
        )
    return replace(model, shape=paged, packed_from=engine.fp8_from)


def _model(spec: Spec, observed: Observed) -> Model | Unknown:
    hub, name = hub_of(spec), spec.model.id
    if hub is None and observed.config is None:
        return Unknown("the operator does not read weights on a volume")
    if hub is not None and models().knows(name):
        return models().get(name) or Unknown(f"the bundled server does not serve {name}")
    if hub is not None and hub.token_secret:
        return Unknown("the operator does not read Secrets, so it can't read a gated config.json")
    if observed.config is None:
        return Unknown("the operator reads config.json only from the hub of its installation")
    if observed.config.content is None:
        return Unknown(observed.config.problem)
    try:
        return Model.of_file(observed.config.content)
    except ShapeError as error:
        return Unknown(str(error))
