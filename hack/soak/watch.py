"""What is seen of a server from outside while it is under load."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server_process import ServerProcess

PREFIX = "deepseek_server_"


def metrics(server: ServerProcess) -> dict[str, float]:
    """The metrics by name, those of all labels together, and the answers to clients by status."""
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
    """What must be zero when nobody asks anything."""
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    found = metrics(server)
    return {name: found[name] for name in names}


@dataclass
class Memory:
    """Resident bytes of a server's processes: the first is the server, the others compute.

    Attributes:
        begin: after the warm-up.
        end: the last that was seen.
    """

    begin: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)

    def look(self, server: ServerProcess, *, warm: bool) -> None:
        """See how much they take now."""
        self.end = [process.memory_info().rss for process in server.processes()]
        if not warm:
            self.begin = self.end

    @property
    def growth(self) -> int:
        """Bytes by which the one has grown that has grown most."""
        return max(end - begin for begin, end in zip(self.begin, self.end, strict=True))
