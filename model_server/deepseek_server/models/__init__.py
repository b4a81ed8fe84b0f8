"""Locating, loading and running models: from a model id or a directory to a runner."""
