"""How log lines look, the same in all processes."""

import logging
import os
import sys


def configure() -> None:
    """Log to standard error, at the level that LOG_LEVEL names."""
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
