"""What tests ask a cluster: apply, get, wait, and who wrote what."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target

Object = dict[str, Any]
T = TypeVar("T")

PATIENCE = 120.0  # seconds
API_VERSION = "deepseek-operator.io/v1alpha1"
CHILDREN = (
    "serviceaccount",
    "configmap",
    "service",
    "poddisruptionbudget",
    "networkpolicy",
    "deployment",
)
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def resource(name: str, **spec: Any) -> Object:
    """A DeepSeekDeployment as a person would write it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DeepSeekDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"}, **spec},
    }


# Laid over a known model's pods, where the test's node has not what such a model really needs.
MODEST: Object = {
    "name": "server",
    "resources": {"requests": {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi"}},
}


def modest(**spec: Any) -> Object:
    """A podTemplate of that and more."""
    return {"spec": {"containers": [MODEST], **spec}}


def namespace_name(test: str) -> str:
    """A namespace for a test, named after it and used once."""
    words = re.sub("[^a-z0-9]+", "-", test.lower())[:40].strip("-")
    return f"{words}-{secrets.token_hex(4)}"


class Kube:
    """One namespace of a cluster, through kubectl as a person would use it."""

    def __init__(self, target: Target, namespace: str):
        self.target = target
        self.namespace = namespace

    def run(self, *arguments: str, text: str | None = None) -> str:
        """kubectl in the namespace; raises ClusterError with kubectl's words."""
        return kubectl(self.target, "--namespace", self.namespace, *arguments, text=text)

    def apply(self, *manifests: Object) -> None:
        """kubectl apply."""
        text = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
        self.run("apply", "--filename", "-", text=text)

    def refusal(self, manifest: Object) -> str:
        """The API server's words where it refuses a manifest; fails where it takes it."""
        try:
            self.apply(manifest)
        except ClusterError as error:
            return str(error)
        raise AssertionError(f"the API server accepted {manifest}")

    def get(self, kind: str, name: str) -> Object | None:
        """An object, or None."""
        text = self.run("get", kind, name, "--ignore-not-found", "--output", "json")
        return json.loads(text) if text else None

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """The objects of a kind."""
        chosen = ("--selector", selector) if selector else ()
        items: list[Object] = json.loads(self.run("get", kind, *chosen, "--output", "json"))[
            "items"
        ]
        return items

    def condition(self, name: str, kind: str = "Ready") -> Object:
        """A condition of a resource about its newest spec, {} until it is there."""
        found = self.get("dsd", name) or {}
        for item in found.get("status", {}).get("conditions", []):
            if (
                item["type"] == kind
                and item["observedGeneration"] == found["metadata"]["generation"]
            ):
                return dict(item)
        return {}

    def events(self, name: str) -> list[Object]:
        """The Events about a resource."""
        return [item for item in self.all("events") if item["involvedObject"]["name"] == name]


@contextmanager
def new_namespace(
    target: Target, word: str, labels: Mapping[str, str] | None = None
) -> Iterator[Kube]:
    """A namespace that is used once; what its pods hold is free again afterwards.

    Args:
        target: The cluster.
        word: What its name begins with.
        labels: Its labels.
    """
    kube = Kube(target, namespace_name(word))
    kubectl(target, "create", "namespace", kube.namespace)
    if labels:
        pairs = [f"{name}={value}" for name, value in labels.items()]
        kubectl(target, "label", "namespace", kube.namespace, *pairs)
    try:
        yield kube
    finally:
        kubectl(target, "delete", "namespace", kube.namespace, "--wait=false")
        # A pod that drains for minutes would hold the GPUs that the next test asks for.
        kube.run("delete", "pods", "--all", "--grace-period=1", "--timeout=120s")


def eventually(what: str, check: Callable[[], T], timeout: float = PATIENCE) -> T:
    """The first true value of `check`.

    The time is for a machine that does much else, and is no claim about how fast anything is.

    Raises:
        AssertionError: There was none within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.1)


def wait_until_served(target: Target, *definitions: str) -> None:
    """Wait until the API server serves what CustomResourceDefinitions define.

    `kubectl wait` fails where one has no conditions yet.
    """

    def served() -> bool:
        found = json.loads(kubectl(target, "get", "crd", "--output=json", *definitions))
        items = found.get("items", [found])  # of one there is no list
        established = [
            condition["status"]
            for item in items
            for condition in item.get("status", {}).get("conditions") or []
            if condition["type"] == "Established"
        ]
        return established == ["True"] * len(definitions)

    eventually(f"{', '.join(definitions)} are served", served)


class Audit:
    """The API server's audit log of one namespace, from now on."""

    def __init__(self, path: Path, namespace: str):
        self._path = path
        self._namespace = namespace
        self._start = path.stat().st_size if path.exists() else 0

    def writes(self, by: Callable[[Object], bool]) -> Counter[str]:
        """The finished writes of somebody, counted as 'verb resource/subresource'."""
        with self._path.open("rb") as log:
            log.seek(self._start)
            entries = [json.loads(line) for line in log if line.endswith(b"\n")]
        return Counter(
            f"{entry['verb']} {_what(entry['objectRef'])}"
            for entry in entries
            if entry["stage"] == "ResponseComplete"
            and entry["verb"] in WRITES
            and entry["objectRef"].get("namespace") == self._namespace
            and by(entry)
        )


def _what(reference: Object) -> str:
    return "/".join(
        part for part in (reference["resource"], reference.get("subresource", "")) if part
    )
