"""Planned changes as clients outside see them: through gateway and sidecars, streams among the requests."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.kubectl import kubectl
from tests.cluster.target import Target
from tests.e2e.gateway import NAME, address_of, gateway, istio_gateway, reaches
from tests.e2e.open_loop import OpenLoop
from tests.e2e.product import Product
from tests.kube import Kube, eventually, namespace_name, resource

# Istio takes minutes to build, once.
pytestmark = pytest.mark.long

READY = 300.0
HOST = "tiny.example.com"
# What comes before and after a change, so that the requests meet all of it; seconds.
MARGIN = 5.0
ONE_THREAD = {"name": "OMP_NUM_THREADS", "value": "1"}
# Two servers share two cores with whatever else runs here: what is clear is far worse than that.
ANALYSIS = {"minRequests": 20, "warmUp": "5s", "maxTTFTRatio": 3, "maxITLRatio": 4}
CANARY = {
    "strategy": "canary",
    "canary": {"steps": [{"weight": 50, "pause": "10s"}], "analysis": ANALYSIS},
}
BLUE_GREEN = {"strategy": "blueGreen", "blueGreen": {"keepOld": "10s"}}


@pytest.fixture(scope="module")
def kube(mesh: Target, product: Product) -> Iterator[Kube]:
    """A namespace with a gateway."""
    name = namespace_name("traffic")
    kubectl(mesh, "create", "namespace", name)
    kube = Kube(mesh, name)
    kube.apply(gateway(), istio_gateway())
    yield kube
    kubectl(mesh, "delete", "namespace", name, "--wait=false")


class Model:
    """A tiny model behind the gateway; another note is another revision."""

    def __init__(self, kube: Kube, directory: Path) -> None:
        self._kube, self._directory = kube, directory
        self.note = 0

    def apply(self, replicas: int = 1, rollout: dict[str, Any] | None = None, **spec: Any) -> str:
        """Apply it, and return its note."""
        requests = {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi"}
        container = {"name": "server", "resources": {"requests": requests}, "env": [ONE_THREAD]}
        note = str(self.note)
        wish = resource(
            "tiny",
            model={"id": "tiny", "source": {"hostPath": {"path": str(self._directory)}}},
            podTemplate={
                "metadata": {"annotations": {"note": note}},
                "spec": {"containers": [container]},
            },
            routing={
                "api": "istio",
                "hosts": [HOST],
                "gateway": {"name": NAME, "protocol": "http"},
            },
            security={"mtls": "STRICT"},
            replicas=replicas,
            rollout=rollout or {},
            **spec,
        )
        self._kube.apply(wish)
        return note

    def pods(self) -> list[dict[str, Any]]:
        return self._kube.all("pod", "deepseek-operator.io/name=tiny")

    def settled(self, note: str, replicas: int = 1) -> None:
        """Wait until there are only pods with a note, and all of them serve."""

        def done() -> bool:
            pods = self.pods()
            notes = [pod["metadata"]["annotations"]["note"] for pod in pods]
            ready = self._kube.condition("tiny").get("status") == "True"
            return notes == [note] * replicas and ready

        eventually(f"{replicas} with note {note}", done, 2 * READY)

    def changed(self, **fields: Any) -> None:
        """Apply another revision and wait until it alone serves."""
        self.note += 1
        self.settled(self.apply(**fields), fields.get("replicas", 1))


def test_no_request_fails_and_no_stream_breaks_in_any_planned_change(
    kube: Kube, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model(kube, models["qwen2"])
    model.settled(model.apply())
    address = address_of(kube)
    reaches(address, HOST)
    figures = {}

    def during(what: str, change: Callable[[], None]) -> None:
        with OpenLoop(f"http://{address}", "tiny", {"Host": HOST}) as clients:
            time.sleep(MARGIN)
            change()
            time.sleep(MARGIN)
        figures[what] = str(clients.outcomes)
        with capsys.disabled():
            print(f"\n{what}: {clients.outcomes}")
        assert clients.outcomes.failed == {}, what
        assert clients.outcomes.short
        assert clients.outcomes.streams

    def rolled_back() -> None:
        model.note += 1
        model.apply(
            rollout={**CANARY, "progressDeadline": "20s"}, engine={"args": ["--no-such-flag"]}
        )
        eventually("it is rolled back", lambda: "RolledBack" in reasons(kube), READY)
        good = str(model.note - 1)
        eventually(
            "only the old one is there",
            lambda: {pod["metadata"]["annotations"]["note"] for pod in model.pods()} == {good},
            READY,
        )

    def scaled(replicas: int) -> None:
        model.settled(model.apply(replicas), replicas)

    def evicted() -> None:
        """As a drain of its node does it; the budget lets one of two go."""
        name = model.pods()[0]["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": kube.namespace},
        }
        path = f"/api/v1/namespaces/{kube.namespace}/pods/{name}/eviction"
        kubectl(kube.target, "create", "--raw", path, "-f", "-", text=json.dumps(eviction))
        eventually("it is gone", lambda: name not in names(model), READY)
        model.settled(str(model.note), 2)

    during("surge", model.changed)
    during("scale out", lambda: scaled(2))
    during("surge of two", lambda: model.changed(replicas=2))
    during("pod evicted", evicted)
    during("scale in", lambda: scaled(1))
    during("istiod restarted", lambda: restart_istiod(kube.target))
    during("canary promoted", lambda: model.changed(rollout=CANARY))
    during("canary that never starts", rolled_back)
    during("blue-green", lambda: model.changed(rollout=BLUE_GREEN))
    with capsys.disabled():
        print(json.dumps(figures, indent=1))


def reasons(kube: Kube) -> list[str]:
    return [event["reason"] for event in kube.events("tiny")]


def names(model: Model) -> set[str]:
    return {pod["metadata"]["name"] for pod in model.pods()}


def restart_istiod(cluster: Target) -> None:
    """Kill it; the cluster starts it again, as a Deployment would."""
    ours = f"--kubeconfig={cluster.kubeconfig.parent}"

    def running() -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if any("pilot-discovery" in word for word in process.info["cmdline"] or [])
            and any(word.startswith(ours) for word in process.info["cmdline"])
        ]

    before = {process.pid for process in running()}
    assert before
    for process in running():
        process.send_signal(signal.SIGKILL)
    eventually("another one runs", lambda: {p.pid for p in running()} - before)
    time.sleep(MARGIN)
