"""Kinds of other projects, as minimal CustomResourceDefinitions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.support.kube import wait_until_served


@dataclass(frozen=True)
class ForeignKind:
    """A kind that tests install in a cluster and remove."""

    kind: str
    group: str
    version: str

    @property
    def plural(self) -> str:
        return f"{self.kind.lower()}s"

    @property
    def name(self) -> str:
        """Name of its CustomResourceDefinition, as kubectl accepts it."""
        return f"{self.plural}.{self.group}"

    def install(self, target: Target) -> None:
        kubectl(target, "apply", "--filename", "-", text=json.dumps(self._definition()))
        wait_until_served(target, self.name)

    def remove(self, target: Target) -> None:
        kubectl(target, "delete", "crd", self.name, "--ignore-not-found")

    def _definition(self) -> dict[str, Any]:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": self.version, "served": True, "storage": True}
        names = {"kind": self.kind, "plural": self.plural, "singular": self.kind.lower()}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": names,
                "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
            },
        }
