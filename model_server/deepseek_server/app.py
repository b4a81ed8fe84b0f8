"""The HTTP application, put together from its parts."""

from fastapi import FastAPI

from deepseek_server.api import chat, completions, errors, health, models, tokenize
from deepseek_server.api.middleware import Gate
from deepseek_server.lifecycle import Lifecycle
from deepseek_server.metrics import Metrics


def create_app(lifecycle: Lifecycle, metrics: Metrics) -> FastAPI:
    """The application.

    Args:
        lifecycle: what the server is doing, and the model once there is one.
        metrics: what it counts.
    """
    app = FastAPI(title="DeepSeek model server", docs_url=None, redoc_url=None)
    app.state.lifecycle, app.state.metrics = lifecycle, metrics
    for module in (chat, completions, tokenize, models, health):
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(Gate, lifecycle=lifecycle, metrics=metrics)
    return app
