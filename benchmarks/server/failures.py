"""What keeps a measurement from being made."""


class BenchError(Exception):
    """Says in one sentence what is wrong, where, and what to do."""
