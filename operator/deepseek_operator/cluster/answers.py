"""Errors in responses of the API server, classified by what the caller has to do."""

import json
from typing import Any

import aiohttp

from deepseek_operator.cluster.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NamespaceEndingError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
)

Object = dict[str, Any]

# Server-side apply returns 500, not 400, for a manifest with a value of a wrong type.
MALFORMED = ("failed to convert new object", "failed to create typed patch object")
# The kind is being removed: a moment later it no longer exists.
ENDING = "not allowed while custom resource definition is terminating"


def failure(response: aiohttp.ClientResponse, text: bytes) -> ApiError:
    """Return the error for a response with a status of 400 or more."""
    after = response.headers.get("Retry-After", "")
    return api_error(
        {**_status(text, f"{response.status} {response.reason}"), "code": response.status},
        float(after) if after.isdigit() else None,
    )


def _status(text: bytes, otherwise: str) -> Object:
    """Return the API server's Status object, or a substitute if a proxy has responded."""
    try:
        status: Object = json.loads(text)
        return {"message": str(status["message"]), "details": status.get("details") or {}}
    except (ValueError, KeyError, TypeError):
        return {"message": otherwise}


def api_error(status: Object, retry_after: float | None = None) -> ApiError:
    """Return the error for a Status object."""
    code, message = int(status.get("code", 500)), str(status.get("message", ""))
    if code == 404:
        return NotFoundError(message)
    if code == 410:
        return GoneError(message)
    causes = status.get("details", {}).get("causes") or []
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceEndingError(message)
    if message.endswith(ENDING):
        return UnreachableError(message)
    if message.startswith(MALFORMED):
        return RejectedError(message)
    if code == 409:
        return ConflictError(message)
    if code == 429 or code >= 500:
        return UnreachableError(message, retry_after)
    if code == 401:
        # The token has just been replaced; the next request reads the new one.
        return UnauthorizedError(message)
    if code == 403:
        return ForbiddenError(message)
    return RejectedError(message)
