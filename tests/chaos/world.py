"""Invariants after every fault: each child exists once and as specified, and writing stops.

`make test-chaos` runs all faults, `make test` the quick ones.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from hack.cluster.machine.processes import pid_of
from tests.support.kube import CHILDREN, PATIENCE, Audit, Kube, eventually, resource

NAME = "deepseek-operator.io/name"
QUIET = 3.0  # seconds in which nothing may be written


class World:
    """One namespace, seen from outside the operator."""

    def __init__(self, kube: Kube, state: Path) -> None:
        self.kube = kube
        self._state = state
        self.audit = self.from_now_on()

    def from_now_on(self) -> Audit:
        """Return an audit of the writes in this namespace from now on."""
        return Audit(self._state / "logs/audit.log", self.kube.namespace)

    def pid(self, program: str) -> int:
        """Return the process ID of a program of the control plane."""
        return pid_of(self._state, program)

    def apply(self, *names: str, **spec: Any) -> None:
        """Create or edit resources."""
        self.kube.apply(*(resource(name, **spec) for name in names))

    def converges(self, *names: str, patience: float = PATIENCE) -> None:
        """Wait until all resources match their specs without surplus children and writing stops."""
        eventually("everything matches the specs", lambda: not self.wrong(set(names)), patience)
        self.falls_quiet()
        assert not self.wrong(set(names))

    def falls_quiet(self) -> None:
        """Wait until the operator stops writing; controllers may change pods for a moment."""
        eventually("the operator stops writing", self._is_quiet)

    def wrong(self, names: set[str]) -> list[str]:
        """Return descriptions of everything that does not match the specs."""
        resources = {item["metadata"]["name"]: item for item in self.kube.all("dsd")}
        found = [f"no resource {name}" for name in names - resources.keys()]
        found += [
            f"{name}: status of generation {item.get('status', {}).get('observedGeneration')}"
            for name, item in resources.items()
            if item.get("status", {}).get("observedGeneration") != item["metadata"]["generation"]
        ]
        for kind in CHILDREN:
            found += self._wrong_children(kind, resources)
        return found

    def _wrong_children(self, kind: str, resources: dict[str, Any]) -> list[str]:
        children = self.kube.all(kind, selector=NAME)
        counted = Counter(child["metadata"]["labels"][NAME] for child in children)
        found = [
            f"{counted[name]} objects of kind {kind} of {name}"
            for name in resources
            if counted[name] != 1
        ]
        uids = {item["metadata"]["uid"] for item in resources.values()}
        found += [
            f"{kind} {child['metadata']['name']} is an orphan"
            for child in children
            if child["metadata"]["ownerReferences"][0]["uid"] not in uids
        ]
        found += [
            f"{child['metadata']['name']} has {child['spec']['replicas']} replicas"
            for child in children
            if kind == "deployment"
            and (owner := resources.get(child["metadata"]["labels"][NAME]))
            and child["spec"]["replicas"] != owner["spec"].get("replicas", 1)
        ]
        return found

    def _is_quiet(self) -> bool:
        later = self.from_now_on()
        time.sleep(QUIET)
        return not later.writes(by_operator)


def by_operator(entry: dict[str, Any]) -> bool:
    """Return whether the operator made a write."""
    return str(entry["userAgent"]).startswith("deepseek-operator")
