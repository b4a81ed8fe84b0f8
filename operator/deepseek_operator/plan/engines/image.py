"""Container image of an engine."""

from deepseek_operator.api.engine import Engine
from deepseek_operator.catalog.engines import engines
from deepseek_operator.plan.state.settings import Settings


def image(engine: Engine, settings: Settings) -> str:
    """Return the image of the resource, else of the catalogue, else of the installation.

    Args:
        engine: `spec.engine`.
        settings: Settings of the installation.
    """
    return engine.image or engines()[engine.type].image or settings.server_image
