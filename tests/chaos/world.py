"""What must hold after every fault: all is as the specs say, once, and nobody goes on writing.

Faults that must lose nothing: `make test-chaos` does all of them, `make test` the quick ones.
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
        """The writes in this namespace from now on."""
        return Audit(self._state / "logs/audit.log", self.kube.namespace)

    def pid(self, program: str) -> int:
        """The process of a program of the control plane."""
        return pid_of(self._state, program)

    def apply(self, *names: str, **spec: Any) -> None:
        """Create or edit resources."""
        self.kube.apply(*(resource(name, **spec) for name in names))

    def converges(self, *names: str, patience: float = PATIENCE) -> None:
        """Every resource gets there, nothing is too much, and then nothing is written any more."""
        eventually("all is as the specs say", lambda: not self.wrong(set(names)), patience)
        self.falls_quiet()
        assert not self.wrong(set(names))

    def falls_quiet(self) -> None:
        """The operator stops writing; the controllers have their say about pods for a moment."""
        eventually("nobody writes any more", self._is_quiet)

    def wrong(self, names: set[str]) -> list[str]:
        """What is not as it must be, in words."""
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
    """Whether a write was the operator's."""
    return str(entry["userAgent"]).startswith("deepseek-operator")
