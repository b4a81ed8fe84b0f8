"""The HTTP application, put together from its parts, and the command that runs it."""

import logging
import os
import sys

from fastapi import FastAPI

from deepseek_server.api import chat, completions, errors, health, models
from deepseek_server.api.middleware import Gate
from deepseek_server.command_line import parse
from deepseek_server.failures import StartError, report
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
    for module in (chat, completions, models, health):
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(Gate, lifecycle=lifecycle, metrics=metrics)
    return app


def main() -> None:
    """Serve until SIGTERM; exit codes: 0 done, 2 usage, 3 permanent error, 4 try again."""
    from deepseek_server.process import serve  # imports this module for create_app

    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        code = serve(parse())
    except StartError as error:
        code = report(error)
    logging.shutdown()
    # A thread that still loads a model must not hold up the end of the process.
    os._exit(code)
