"""Planned changes under requests and streams from outside the cluster, through gateway and sidecars."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from hack.models.tiny import make_tiny
from tests.support.e2e.gateway import NAME, address_of, namespace_with_gateway, wait_until_routed
from tests.support.e2e.open_loop import WHOLE, OpenLoop, Outcomes
from tests.support.e2e.product import Product
from tests.support.kube import Kube, eventually, resource

# Istio takes minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("mesh")]

READY = 300.0
HOST = "tiny.example.com"
# Seconds of requests before and after a change, so that they cover the whole change.
MARGIN = 5.0
# Maximum duration of a stream of a slow candidate, in seconds.
DRAIN = 300
# Maximum number of running requests of one of two replicas when it is killed.
IN_FLIGHT = 4
SELECTOR = "deepseek-operator.io/name=tiny"
ONE_THREAD = {"name": "OMP_NUM_THREADS", "value": "1"}
# Wide limits, since both servers share two cores with other processes; a bad candidate exceeds them.
ANALYSIS = {"minRequests": 20, "warmUp": "5s", "maxTTFTRatio": 3, "maxITLRatio": 4}
CANARY = {
    "strategy": "canary",
    "canary": {"steps": [{"weight": 50, "pause": "10s"}], "analysis": ANALYSIS},
}
BLUE_GREEN = {"strategy": "blueGreen", "blueGreen": {"keepOld": "10s"}}


@pytest.fixture(scope="module")
def kube(cluster: Target, product: Product) -> Iterator[Kube]:
    """A namespace with a gateway."""
    with namespace_with_gateway(cluster, "traffic") as kube:
        yield kube


class Model:
    """A tiny model behind the gateway; each note makes another revision."""

    def __init__(self, kube: Kube, directory: Path) -> None:
        self._kube, self._directory = kube, directory
        self.note = 0

    def apply(
        self,
        replicas: int = 1,
        rollout: dict[str, Any] | None = None,
        files: Path | None = None,
        **spec: Any,
    ) -> str:
        """Apply the resource with the current note, and return the note."""
        requests = {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi"}
        container = {"name": "server", "resources": {"requests": requests}, "env": [ONE_THREAD]}
        note = str(self.note)
        manifest = resource(
            "tiny",
            model={"id": "tiny", "source": {"hostPath": {"path": str(files or self._directory)}}},
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
            rollout={"drainSeconds": DRAIN, **(rollout or {})},
            **spec,
        )
        self._kube.apply(manifest)
        return note

    def pods(self) -> list[dict[str, Any]]:
        return self._kube.all("pod", SELECTOR)

    def notes(self) -> set[str]:
        """Return the notes of the existing pods."""
        return {pod["metadata"]["annotations"]["note"] for pod in self.pods()}

    def settled(self, note: str, replicas: int = 1) -> None:
        """Wait until only pods with this note exist and all of them serve."""

        def done() -> bool:
            pods = self.pods()
            notes = [pod["metadata"]["annotations"]["note"] for pod in pods]
            ready = self._kube.condition("tiny").get("status") == "True"
            return notes == [note] * replicas and ready

        eventually(f"{replicas} pod(s) with note {note} serve", done, 2 * READY)

    def changed(self, **fields: Any) -> None:
        """Apply another revision and wait until only its pods exist and serve."""
        self.note += 1
        self.settled(self.apply(**fields), fields.get("replicas", 1))


def test_no_request_fails_and_no_stream_breaks_in_any_planned_change(
    kube: Kube, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model(kube, models["qwen2"])
    model.settled(model.apply())
    address = address_of(kube)
    wait_until_routed(address, HOST)
    figures = {}

    def outcomes_during(what: str, change: Callable[[], None]) -> Outcomes:
        """Send requests during a change and return their outcomes."""
        with OpenLoop(f"http://{address}", "tiny", {"Host": HOST}) as clients:
            time.sleep(MARGIN)
            change()
            time.sleep(MARGIN)
        figures[what] = str(clients.outcomes)
        with capsys.disabled():
            print(f"\n{what}: {clients.outcomes}")
        assert clients.outcomes.short
        assert clients.outcomes.streams
        return clients.outcomes

    def no_failure_during(what: str, change: Callable[[], None]) -> None:
        assert outcomes_during(what, change).failed == {}, what

    def rolled_back(**spec: Any) -> None:
        """Apply a bad candidate and wait until it is rolled back."""
        good, before = str(model.note), event_count(kube, "RolledBack")
        model.note += 1
        model.apply(**spec)
        eventually(
            "the candidate is rolled back",
            lambda: event_count(kube, "RolledBack") > before,
            2 * READY,
        )
        eventually("only the stable set is left", lambda: model.notes() == {good}, READY)
        model.note = int(good)

    def scaled(replicas: int) -> None:
        model.settled(model.apply(replicas), replicas)

    def drained() -> None:
        """Drain the node of both replicas; uncordon it as soon as a pod is unschedulable.

        The cluster has only one node, so the new pods run on the drained node; a running
        `kubectl drain` evicts only the pods that it found at its start.
        """
        before = names(model)
        command = ("drain", "node-1", f"--pod-selector={SELECTOR}", "--delete-emptydir-data")
        with ThreadPoolExecutor() as pool:
            drain = pool.submit(kubectl, kube.target, *command, f"--timeout={READY:.0f}s")
            try:
                eventually("a pod is unschedulable", lambda: any(map(unscheduled, model.pods())))
            finally:
                kubectl(kube.target, "uncordon", "node-1")
            assert "node/node-1 drained" in drain.result()
        model.settled(str(model.note), 2)
        assert not before & names(model)

    def killed() -> None:
        """Kill a pod without drain or grace period, as a power failure of its node would."""
        name = model.pods()[0]["metadata"]["name"]
        kube.run("delete", "pod", name, "--grace-period=0", "--force")
        model.settled(str(model.note), 2)

    never_starts = {
        "rollout": {**CANARY, "progressDeadline": "20s"},
        "engine": {"args": ["--no-such-flag"]},
    }
    no_failure_during("surge", model.changed)
    no_failure_during("scale out", lambda: scaled(2))
    no_failure_during("surge of two", lambda: model.changed(replicas=2))
    no_failure_during(
        "in place, no GPU free", lambda: model.changed(replicas=2, **all_gpus(kube, 2))
    )
    no_failure_during("node drained", drained)
    outcomes = outcomes_during("pod killed", killed)
    # Only the running requests of the killed pod fail.
    assert sum(outcomes.failed.values()) <= IN_FLIGHT, outcomes.failed
    no_failure_during("scale in", lambda: scaled(1))
    no_failure_during("istiod restarted", lambda: restart_istiod(kube.target))
    no_failure_during("canary promoted", lambda: model.changed(rollout=CANARY))
    no_failure_during("canary that never starts", lambda: rolled_back(**never_starts))
    no_failure_during(
        "canary that is slow", lambda: rolled_back(rollout=CANARY, files=slow(models))
    )
    outcomes = outcomes_during(
        "canary that refuses", lambda: rolled_back(rollout=CANARY, files=refusing(models))
    )
    # Only chats that the candidate served fail.
    assert set(outcomes.failed) == {"400"}
    assert outcomes.streams.keys() == {WHOLE}
    no_failure_during("after it", lambda: None)
    no_failure_during("blue-green", lambda: model.changed(rollout=BLUE_GREEN))
    with capsys.disabled():
        print(json.dumps(figures, indent=1))


def all_gpus(kube: Kube, replicas: int) -> dict[str, Any]:
    """Return a spec in which the replicas take all GPUs; these are only advertised, the CPU computes."""
    node = kube.get("node", "node-1")
    assert node is not None
    each = int(node["status"]["allocatable"]["nvidia.com/gpu"]) // replicas
    on_cpu = {"args": ["--device", "cpu", "--tensor-parallel", "1"]}
    return {"accelerator": {"count": each}, "engine": on_cpu}


def slow(models: dict[str, Path]) -> Path:
    """Make a model with wider layers, for which each token takes many times as long."""
    directory = models["qwen2"].with_name("qwen2-slow")
    return make_tiny("qwen2", directory, intermediate_size=300_000)


def refusing(models: dict[str, Path]) -> Path:
    """Make a model whose chat template fails on every request."""
    directory = make_tiny("qwen2", models["qwen2"].with_name("qwen2-refusing"))
    (directory / "chat_template.jinja").write_text("{{ 1 // 0 }}")
    return directory


def event_count(kube: Kube, reason: str) -> int:
    """Return the number of Events with this reason."""
    return sum(item.get("count") or 1 for item in kube.events("tiny") if item["reason"] == reason)


def unscheduled(pod: dict[str, Any]) -> bool:
    """Return whether a pod is unschedulable."""
    conditions = pod["status"].get("conditions", [])
    return any(item.get("reason") == "Unschedulable" for item in conditions)


def names(model: Model) -> set[str]:
    return {pod["metadata"]["name"] for pod in model.pods()}


def restart_istiod(cluster: Target) -> None:
    """Kill istiod; the cluster restarts it, as a Deployment would."""
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
    eventually("another istiod runs", lambda: {p.pid for p in running()} - before)
    time.sleep(MARGIN)
