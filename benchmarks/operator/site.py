"""The environment of a measurement: the cluster, the operator process, and their costs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.machine.processes import cpu_seconds, memory, pid_of
from tests.support.operator_process import OperatorProcess

MIB = 2**20


@dataclass
class Spent:
    """Time and CPU time between two moments, in seconds."""

    seconds: float
    operator: float
    api_server: float
    client: float

    def shares(self) -> dict[str, float]:
        """Return the cores that each process kept busy."""
        return {
            name: round(getattr(self, name) / self.seconds, 2)
            for name in ("operator", "api_server", "client")
        }


class Site:
    """A running cluster and the operator against it."""

    def __init__(self, state: Path, kubeconfig: Path, folder: Path) -> None:
        self.audit_log = state / "logs/audit.log"
        self.operator = OperatorProcess(kubeconfig, folder / "operator.log", "bench")
        self._servers = [pid_of(state, name) for name in ("kube-apiserver", "etcd")]

    def start(self) -> float:
        """Start the operator; return the seconds until it has read the cluster's state."""
        begun = time.monotonic()
        self.operator.start()
        return time.monotonic() - begun

    def memory(self) -> float:
        """Return the operator's memory in MiB."""
        return round(memory(self.operator.pid) / MIB, 1)

    def watch_costs(self) -> Costs:
        """Start to count costs."""
        return Costs(self)

    def cpu(self) -> tuple[float, float, float]:
        """Return the CPU seconds so far: of the operator, of the API server with etcd, and ours."""
        servers = sum(cpu_seconds(pid) for pid in self._servers)
        pid = self.operator.pid
        return (cpu_seconds(pid) if pid else 0.0), servers, cpu_seconds(os.getpid())


class Costs:
    """Costs since the creation of this object."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._begun = time.monotonic()
        self._before = site.cpu()

    def so_far(self) -> Spent:
        """Return the costs until now."""
        after = self._site.cpu()
        spent = [now - before for now, before in zip(after, self._before, strict=True)]
        return Spent(time.monotonic() - self._begun, *spent)
