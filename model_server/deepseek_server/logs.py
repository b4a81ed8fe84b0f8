"""Log lines: text for people, JSON for log stores; one line for every request at its end.

LOG_FORMAT chooses, LOG_LEVEL says from which level on. Text is the default also where nobody looks
on: `kubectl logs` and the operator, which shows the last lines of a server that failed, are read by
people. Whatever logs through the standard library, uvicorn among it, ends up here.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from deepseek_server.errors import PermanentError
from deepseek_server.server.request_record import Record

TEXT, JSON = "text", "json"

requests = logging.getLogger("deepseek_server.requests")


class TextFormatter(logging.Formatter):
    """The message, and after it the fields of the line as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of logging
        """One line, before a traceback."""
        line = super().formatMessage(record)
        fields = _fields(record).items()
        return " ".join([line, *(f"{name}={_word(value)}" for name, value in fields)])


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the fields, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up() -> None:
    """Send all log lines to standard error, as the environment asks for them.

    Raises:
        PermanentError: LOG_FORMAT or LOG_LEVEL is no such thing.
    """
    style = os.environ.get("LOG_FORMAT", TEXT)
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if style == JSON else TextFormatter())
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if style not in (TEXT, JSON):
        raise PermanentError(f"LOG_FORMAT is {style!r}: write {TEXT} or {JSON}")
    if level not in known:
        raise PermanentError(f"LOG_LEVEL is {level!r}: write debug, info, warning or error")


def ended(record: Record, seconds: float) -> None:
    """Write the line of a request.

    Args:
        record: the request, which has ended.
        seconds: how long it took.
    """
    fields: dict[str, Any] = {
        "request_id": record.id,
        "key": record.key,
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "error": record.error,
        "total_ms": _milliseconds(seconds),
    }
    if record.answers:
        fields |= {
            "response_id": record.answers[0].response_id,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "generated_tokens": record.generated_tokens,
            "queue_ms": _milliseconds(record.queue_seconds),
            "ttft_ms": _milliseconds(record.first_token_seconds),
            "finish_reasons": record.finish_reasons,
        }
    told = {name: value for name, value in fields.items() if value not in ("", None)}
    requests.info("request ended", extra={"fields": told})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields = getattr(record, "fields", {})
    return fields if isinstance(fields, Mapping) else {}


def _word(value: object) -> str:
    """A value without spaces."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
