"""Errors of requests to the API server, classified by what the caller has to do."""


class ApiError(Exception):
    """A request that the API server did not carry out."""


class RejectedError(ApiError):
    """The API server rejects the request: repeating it unchanged does not help for now."""


class UnreachableError(ApiError):
    """The API server could not be reached, or could not carry out the request now: retry.

    Attributes:
        retry_after: Seconds that the API server asks to wait, or None.
    """

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class ForbiddenError(RejectedError):
    """The caller lacks a permission, or a quota or policy forbids the request."""


class NotFoundError(RejectedError):
    """The object does not exist, or its kind is not served."""


class NamespaceEndingError(RejectedError):
    """The namespace is being deleted: it takes no new objects, and no status has to report it."""


class UnauthorizedError(UnreachableError):
    """The API server does not recognise the caller: the token was replaced or has expired."""


class ConflictError(UnreachableError):
    """The object has changed since it was read."""


class GoneError(UnreachableError):
    """The API server no longer has the requested version: list everything again."""
