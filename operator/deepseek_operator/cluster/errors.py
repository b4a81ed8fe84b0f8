"""How a request to the API server can fail, by what is to be done about it."""


class ApiError(Exception):
    """A request that the API server did not carry out."""


class RejectedError(ApiError):
    """The API server refuses what was sent: trying the same again is of no use for now."""


class UnreachableError(ApiError):
    """The API server could not be asked or was overloaded: try again.

    Attributes:
        retry_after: Seconds that the API server asks to wait, or None.
    """

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class ForbiddenError(RejectedError):
    """Who asks may not: a right is missing, or a quota or policy stands against it."""


class NotFoundError(RejectedError):
    """There is no such object, or no such kind."""


class NamespaceEndingError(RejectedError):
    """The namespace is being deleted: nothing new is taken there, and nobody is to be told."""


class UnauthorizedError(UnreachableError):
    """The API server does not know who asks: a token has been replaced, or has ended."""


class ConflictError(UnreachableError):
    """The object has changed since it was read."""


class GoneError(UnreachableError):
    """The API server has forgotten the version that was asked for: read everything anew."""
