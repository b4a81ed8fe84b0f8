"""The HTTP application."""

from fastapi import FastAPI

from deepseek_server import tracing
from deepseek_server.api import errors
from deepseek_server.api.middleware import Gate, Rules
from deepseek_server.api.routes import chat, completions, follower, health, models, tokenize
from deepseek_server.config import Config
from deepseek_server.metrics import Metrics
from deepseek_server.server.api_keys import Keyring
from deepseek_server.server.lifecycle import Lifecycle


def rules(config: Config) -> Rules:
    """Return the rules for requests of a configuration.

    Raises:
        PermanentError: the API keys file is invalid, or tracing is not installed.
    """
    file, trace = config.api_keys_file, config.tracing
    return Rules(
        keyring=None if file is None else Keyring(file),
        timeout=config.request_timeout_seconds,
        tracer=None if trace is None else tracing.tracer(trace.endpoint, config.model.name),
    )


def create_app(lifecycle: Lifecycle, metrics: Metrics, rules: Rules | None = None) -> FastAPI:
    """Create the application.

    Args:
        lifecycle: the state of the server, and the model once it is ready.
        metrics: the metrics of the server.
        rules: the rules for requests; none by default.
    """
    rules = rules or Rules()
    follows = lifecycle.gang is not None and lifecycle.gang.leader
    schema = None if follows else "/openapi.json"
    app = FastAPI(title="DeepSeek model server", docs_url=None, redoc_url=None, openapi_url=schema)
    app.state.lifecycle, app.state.metrics = lifecycle, metrics
    for module in (health, follower) if follows else (chat, completions, tokenize, models, health):
        app.include_router(module.router)
    errors.install(app)
    if rules.keyring is not None:
        metrics.watch_keys(rules.keyring)
    app.add_middleware(Gate, lifecycle=lifecycle, metrics=metrics, rules=rules)
    return app
