"""Changes of a server's counters during a measurement, from its /metrics.

Every counter that changed is reported under the server's own name without its prefix, for instance
the time that the GPU waited for the CPU, or the prompt tokens found in the cache.
"""

import asyncio
import re
from collections.abc import Mapping

from benchmarks.server.client.http import ProtocolError
from benchmarks.server.client.load import fetch
from benchmarks.server.client.target import Target

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_PREFIX = re.compile(r"^(deepseek_server_|vllm:)")
_COUNTED = ("_total", "_sum", "_count")


def parse(text: str) -> dict[str, float]:
    """Return the counters of a page in Prometheus' text format, summed over their labels."""
    counters: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        if name.endswith(_COUNTED):
            counters[name] = counters.get(name, 0.0) + float(value)
    return counters


def read(target: Target) -> dict[str, float]:
    """Return the server's counters; empty if it has no /metrics."""
    try:
        status, body = asyncio.run(fetch(target, "/metrics"))
    except (OSError, ProtocolError):
        return {}
    return parse(body.decode(errors="replace")) if status == 200 else {}


def moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the increase of each counter that changed."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return {_PREFIX.sub("", name): round(value, 6) for name, value in grown.items() if value}
