"""From which image an engine runs."""

from deepseek_operator.api.engine import Engine
from deepseek_operator.catalog.engines import engines
from deepseek_operator.plan.state.settings import Settings


def image(engine: Engine, settings: Settings) -> str:
    """The image that a resource names, else the catalogue's, else the installation's.

    Args:
        engine: What the resource says.
        settings: What the installation decides for all resources.
    """
    return engine.image or engines()[engine.type].image or settings.server_image
