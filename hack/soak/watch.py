"""Observation of a server from outside while it is under load."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server_process import ServerProcess

PREFIX = "deepseek_server_"


def metrics(server: ServerProcess) -> dict[str, float]:
    """Return the metrics by name, summed over labels, and the responses by status."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(
        httpx.get(f"{server.url}/metrics", timeout=60).text
    ):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            found[name] = found.get(name, 0) + sample.value
            if name == "http_requests_total" and sample.labels["handler"].startswith("/v1"):
                status = f"status {sample.labels['status']}"
                found[status] = found.get(status, 0) + sample.value
    return found


def idle(server: ServerProcess) -> dict[str, float]:
    """Return the gauges that must be zero when the server is idle."""
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    found = metrics(server)
    return {name: found[name] for name in names}


@dataclass
class Memory:
    """Resident bytes of a server's processes: the server first, then its workers.

    Attributes:
        begin: bytes after the warm-up.
        end: last observed bytes.
    """

    begin: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)

    def look(self, server: ServerProcess, *, warm: bool) -> None:
        """Record the current memory."""
        self.end = [process.memory_info().rss for process in server.processes()]
        if not warm:
            self.begin = self.end

    @property
    def growth(self) -> int:
        """Largest growth of a process in bytes."""
        return max(end - begin for begin, end in zip(self.begin, self.end, strict=True))
