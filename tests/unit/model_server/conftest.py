"""Fixtures of the model server's tests."""

from tests.support.model_server.serving import (
    client,
    run_app,
    serve_anew,
    serve_family,
    server,
    tiny,
)

__all__ = ["client", "run_app", "serve_anew", "serve_family", "server", "tiny"]
