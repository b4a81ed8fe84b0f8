"""Servers that benchmarks measure in tests."""

from tests.support.model_server.serving import run_app, serve_anew, serve_family, server, tiny

__all__ = ["run_app", "serve_anew", "serve_family", "server", "tiny"]
