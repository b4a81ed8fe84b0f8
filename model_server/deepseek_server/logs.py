"""Logging: text for people or JSON for log stores, and one line for every request that ends.

LOG_FORMAT selects the format, LOG_LEVEL the lowest level. Text is the default even without a
terminal: people read `kubectl logs` and the last lines of a failed server, which the operator shows.
All loggers of the standard library, uvicorn's included, end up here.
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
    """Formats a message and its fields as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of logging
        """Return the line that precedes a traceback."""
        line = super().formatMessage(record)
        fields = _fields(record).items()
        return " ".join([line, *(f"{name}={_word(value)}" for name, value in fields)])


class JSONFormatter(logging.Formatter):
    """Formats one JSON object per line: time, level, logger, message, fields and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
    """Send all log lines to standard error, as configured by the environment.

    Raises:
        PermanentError: LOG_FORMAT or LOG_LEVEL is invalid.
    """
    style = os.environ.get("LOG_FORMAT", TEXT)
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if style == JSON else TextFormatter())
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if style not in (TEXT, JSON):
        raise PermanentError(f"LOG_FORMAT must be {TEXT} or {JSON}: got {style!r}")
    if level not in known:
        raise PermanentError(f"LOG_LEVEL must be debug, info, warning or error: got {level!r}")


def ended(record: Record, seconds: float) -> None:
    """Log the end of a request.

    Args:
        record: the request, which has ended.
        seconds: its duration.
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
    present = {name: value for name, value in fields.items() if value not in ("", None)}
    requests.info("request ended", extra={"fields": present})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields = getattr(record, "fields", {})
    return fields if isinstance(fields, Mapping) else {}


def _word(value: object) -> str:
    """Return a value without spaces."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
