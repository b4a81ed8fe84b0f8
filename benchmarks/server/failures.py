"""Errors of measurements."""


class BenchError(Exception):
    """A failed measurement; the message states the problem, its location and the remedy."""
