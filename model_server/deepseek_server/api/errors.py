"""Error responses in OpenAI's format.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

Unknown routes, malformed bodies and internal errors have this format too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from deepseek_server.server import request_record as record


class APIError(HTTPException):
    """An error response raised by a route.

    Args:
        status: the HTTP status.
        message: what is wrong and what to do.
        code: machine-readable error code.
        param: the invalid field of the request.
        retry_after: seconds after which the client may retry.
        headers: additional response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        later = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, message, {**later, **(headers or {})})
        self.code, self.param = code, param


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> APIError:
    """Return a 400 for an invalid request."""
    return APIError(400, message, code=code, param=param)


def body(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the JSON body of an error."""
    value = {"message": _text(message), "type": _type(status), "param": _text(param), "code": code}
    return {"error": value}


def _text(value: str | None) -> str | None:
    """Replace lone surrogates, which a request can contain and messages quote."""
    return None if value is None else value.encode(errors="replace").decode()


def _type(status: int) -> str:
    match status:
        case 429:
            return "rate_limit_error"
        case 503:
            return "service_unavailable_error"
        case _ if status >= 500:
            return "server_error"
        case _:
            return "invalid_request_error"


def install(app: FastAPI) -> None:
    """Register the handlers that give all errors of an application this format."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    message, code, param = error.detail, None, None
    if isinstance(error, APIError):
        code, param = error.code, error.param
    elif error.status_code == 404:
        message, code = f"unknown route: {request.url.path}", "unknown_route"
    elif error.status_code == 405:
        message = f"method {request.method} is not allowed for {request.url.path}"
        code = "method_not_allowed"
    return _response(error.status_code, message, code, param, error.headers)


def response(error: APIError) -> JSONResponse:
    """Return the response for an error."""
    return _response(error.status_code, error.detail, error.code, error.param, error.headers)


def fault(error: Exception) -> JSONResponse:
    """Return the response for an internal error."""
    return _response(500, fault_message(error), "internal_error")


def fault_message(error: Exception) -> str:
    """Return the message for an internal error."""
    return f"internal server error ({type(error).__name__}): see the server's log"


def _response(
    status: int,
    message: str,
    code: str | None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    record.current().error = code or str(status)
    return JSONResponse(body(status, message, code=code, param=param), status, dict(headers or {}))


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    problem = error.errors()[0]
    message, code, param = _describe(problem)
    return _response(400, message, code, param)


def _describe(problem: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Return message, code and field of a validation error."""
    param = _path(problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    match problem["type"]:
        case "json_invalid":
            reason = problem.get("ctx", {}).get("error", text)
            return f"the body is not valid JSON: {reason}", "invalid_json", None
        case "extra_forbidden":
            return f"unknown parameter: {param}", "unknown_parameter", param
        case "missing" if param:
            return f"missing parameter: {param}", "missing_required_parameter", param
        case "unsupported_parameter":
            return text, "unsupported_parameter", problem["ctx"]["param"]
        case "invalid_combination":
            return text, "invalid_value", problem["ctx"]["param"]
        case _ if not param:
            return "the body must be a JSON object, sent as application/json", "invalid_body", None
        case _:
            return f"{param}: {text[0].lower()}{text[1:]}", "invalid_value", param


def _path(location: Sequence[str | int]) -> str | None:
    """Return `messages[0].content` for `("body", "messages", 0, "content")`."""
    path = ""
    for part in location:
        if part != "body" or path:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".") or None
