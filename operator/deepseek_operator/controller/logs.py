"""Log formats: plain for people, JSON for log stores."""

import logging

from pythonjsonlogger.json import JsonFormatter

PLAIN = "%(asctime)s %(levelname)-7s %(message)s"


def set_up(level: str, style: str) -> None:
    """Send all log lines to standard error in a style, `plain` or `json`."""
    handler = logging.StreamHandler()
    if style == "json":
        fields = ["asctime", "levelname", "name", "message"]
        handler.setFormatter(
            JsonFormatter(fields, rename_fields={"asctime": "time", "levelname": "level"})
        )
    else:
        handler.setFormatter(logging.Formatter(PLAIN))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # kopf and its HTTP client log at level info what matters only when they fail.
    for name in ("kopf", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
