"""The error of this package whose message is shown to the user."""


class ClusterError(Exception):
    """Something is missing or broken; the message states the problem, its place and the remedy."""
