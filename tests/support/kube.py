"""Access to a cluster from tests: apply, get, wait, and read the audit log."""

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
    """Return a DeepSeekDeployment as a user would write it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DeepSeekDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"}, **spec},
    }


# Pod template of known models in tests, since the test's node lacks the resources that they need.
MODEST: Object = {
    "name": "server",
    "resources": {"requests": {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi"}},
}


def modest(**spec: Any) -> Object:
    """Return a podTemplate with small resource requests and these fields of the pod spec."""
    return {"spec": {"containers": [MODEST], **spec}}


def namespace_name(test: str) -> str:
    """Return a unique namespace name that begins with the test's name."""
    words = re.sub("[^a-z0-9]+", "-", test.lower())[:40].strip("-")
    return f"{words}-{secrets.token_hex(4)}"


class Kube:
    """One namespace of a cluster, accessed with kubectl."""

    def __init__(self, target: Target, namespace: str):
        self.target = target
        self.namespace = namespace

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl in the namespace; raise ClusterError with its error output if it fails."""
        return kubectl(self.target, "--namespace", self.namespace, *arguments, text=text)

    def apply(self, *manifests: Object) -> None:
        """Apply manifests."""
        text = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
        self.run("apply", "--filename", "-", text=text)

    def refusal(self, manifest: Object) -> str:
        """Return the API server's error for a manifest; fail if it accepts the manifest."""
        try:
            self.apply(manifest)
        except ClusterError as error:
            return str(error)
        raise AssertionError(f"the API server accepted {manifest}")

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, or None if it does not exist."""
        text = self.run("get", kind, name, "--ignore-not-found", "--output", "json")
        return json.loads(text) if text else None

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """Return the objects of a kind."""
        chosen = ("--selector", selector) if selector else ()
        items: list[Object] = json.loads(self.run("get", kind, *chosen, "--output", "json"))[
            "items"
        ]
        return items

    def condition(self, name: str, kind: str = "Ready") -> Object:
        """Return a condition of a resource for its current generation, {} if there is none yet."""
        found = self.get("dsd", name) or {}
        for item in found.get("status", {}).get("conditions", []):
            if (
                item["type"] == kind
                and item["observedGeneration"] == found["metadata"]["generation"]
            ):
                return dict(item)
        return {}

    def events(self, name: str) -> list[Object]:
        """Return the Events of a resource."""
        return [item for item in self.all("events") if item["involvedObject"]["name"] == name]


@contextmanager
def new_namespace(
    target: Target, word: str, labels: Mapping[str, str] | None = None
) -> Iterator[Kube]:
    """Create a namespace; delete it with its pods at the end, so that their GPUs are free again.

    Args:
        target: The cluster.
        word: Prefix of its name.
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
        # A pod that drains for minutes would hold the GPUs that the next test needs.
        kube.run("delete", "pods", "--all", "--grace-period=1", "--timeout=120s")


def eventually(what: str, check: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Wait until `check` returns a true value, and return it.

    The timeout allows for a busy machine; it is no performance requirement.

    Args:
        what: The awaited state, for the error.
        check: Called repeatedly.
        timeout: Seconds to wait.

    Raises:
        AssertionError: There was no true value within `timeout` seconds.
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
    """Wait until the API server serves the kinds of these CustomResourceDefinitions.

    `kubectl wait` fails if one of them has no conditions yet.
    """

    def served() -> bool:
        found = json.loads(kubectl(target, "get", "crd", "--output=json", *definitions))
        items = found.get("items", [found])  # kubectl returns a single object without a list
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
        """Count the completed writes whose entries satisfy `by`, as 'verb resource/subresource'."""
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
