"""The one error of this package whose text is written for the person at the terminal."""


class ClusterError(Exception):
    """Something is missing or broken; the message says what, where, and what to do about it."""
