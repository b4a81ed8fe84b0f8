"""Long streams through gateway and sidecars survive silence, and report a failure at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.target import Target
from tests.support.e2e.engine import CONTINUE, KILL, STOP, send
from tests.support.e2e.gateway import (
    NAME,
    address_of,
    namespace_with_gateway,
    request,
    wait_until_routed,
)
from tests.support.e2e.probe_image import push_probe
from tests.support.e2e.probes import probe
from tests.support.e2e.product import Product
from tests.support.kube import Kube, Object, eventually, modest, resource

# Istio takes minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("mesh")]

READY = 300.0
HOST = "tiny.example.com"
# Seconds of silence, longer than the default idle timeout of many proxies, and its repetitions.
SILENCE, TIMES = 70, 5
# Seconds until a client notices the failure of its stream: far less than any timeout.
AT_ONCE = 10.0
STREAM_TOKENS = 4000
# Seconds in which a stream must end: on a busy machine it takes ten times as long as usual.
DRAIN = 900
# Seconds; a classic sidecar waits five seconds after its SIGTERM by default.
LONGER_THAN_A_SIDECAR = 12


@pytest.fixture(scope="module")
def kube(cluster: Target, product: Product) -> Iterator[Kube]:
    """A namespace with a gateway."""
    with namespace_with_gateway(cluster, "streams") as kube:
        yield kube


@pytest.fixture(scope="module")
def address(kube: Kube, models: dict[str, Path]) -> str:
    """Address of the gateway, with a route to one replica of a tiny model."""
    apply(kube, models, 1)
    eventually("ready", lambda: ready(kube), READY)
    address = address_of(kube)
    wait_until_routed(address, HOST)
    return address


def model(models: dict[str, Path], name: str, routing: dict[str, Any], **spec: Any) -> Object:
    return resource(
        name,
        model={"id": name, "source": {"hostPath": {"path": str(models["qwen2"])}}},
        routing={"gateway": {"name": NAME, "protocol": "http"}, **routing},
        security={"mtls": "STRICT"},
        **{"podTemplate": modest(), **spec},
    )


def apply(kube: Kube, models: dict[str, Path], replicas: int, **spec: Any) -> None:
    routing = {"api": "istio", "hosts": [HOST]}
    kube.apply(model(models, "tiny", routing, replicas=replicas, **spec))


@dataclass
class Received:
    """What a client received of a stream, and when the stream ended (monotonic seconds)."""

    events: list[str]
    broken: str = ""
    ended: float = 0.0

    @property
    def error(self) -> dict[str, Any]:
        """The error that the server sent in the stream, {} if it sent none."""
        for event in self.events:
            if event.startswith("{") and "error" in json.loads(event):
                return dict(json.loads(event)["error"])
        return {}


class Stream:
    """One long streamed answer of a model, read in a thread."""

    def __init__(
        self, address: str, tokens: int, model: str = "tiny", host: str = HOST, path: str = ""
    ) -> None:
        self.received = Received([])
        self._url, self._host = f"http://{address}{path}/v1/completions", host
        body = {"model": model, "prompt": "Hello", "max_tokens": tokens, "stream": True}
        self._body = body | {"ignore_eos": True, "stream_options": {"include_usage": True}}
        self._pool = ThreadPoolExecutor(1)
        self._reading = self._pool.submit(self._read)
        eventually("the answer has begun", self._has_begun)

    def _has_begun(self) -> bool:
        if self._reading.done():
            self._reading.result()  # raises the error of the thread
        return len(self.received.events) > 3

    def _read(self) -> None:
        try:
            with (
                httpx.Client(trust_env=False, timeout=READY) as client,
                client.stream(
                    "POST", self._url, json=self._body, headers={"Host": self._host}
                ) as answer,
            ):
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        self.received.events.append(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            self.received.broken = repr(error)
        self.received.ended = time.monotonic()

    def end(self) -> Received:
        """Wait for the end of the stream."""
        self._reading.result()
        self._pool.shutdown()
        return self.received


def test_a_stream_survives_silence_on_the_wire(
    kube: Kube, address: str, models: dict[str, Path]
) -> None:
    """The route of a stopped model leads to a server that sends no heartbeats."""
    apply(kube, models, 0)
    service = kube.get("service", "tiny")
    assert service is not None
    labels = {**service["spec"]["selector"], "sidecar.istio.io/inject": "true"}
    pod = probe("silent", push_probe(kube.target), port=8000, **labels)
    kube.apply(*pod)
    try:
        kube.run("wait", "--for=condition=Ready", "pod/silent", "--timeout=120s")
        path = "/v1/words?count=1&silence=0"
        eventually("the server is reached", lambda: request(address, HOST, path).status_code == 200)
        url = f"http://{address}/v1/words?count={TIMES}&silence={SILENCE}"
        begun = time.monotonic()
        with httpx.Client(trust_env=False, timeout=2 * SILENCE) as client:
            lines = client.get(url, headers={"Host": HOST}).text.split()
        assert lines == [word for n in range(TIMES) for word in ("data:", str(n))] + [
            "data:",
            "[DONE]",
        ]
        assert time.monotonic() - begun > SILENCE * TIMES
    finally:
        kube.run("delete", "pod", "silent")
        apply(kube, models, 1)


def test_a_stream_survives_an_engine_that_computes_for_long(kube: Kube, address: str) -> None:
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, pod, STOP)
    before = len(stream.received.events)
    time.sleep(SILENCE)
    assert len(stream.received.events) <= before + 5, "more than the events in transit"
    send(kube, pod, CONTINUE)
    whole = stream.end()
    assert not whole.broken
    assert whole.events[-1] == "[DONE]"
    assert json.loads(whole.events[-2])["usage"]["completion_tokens"] == STREAM_TOKENS


def test_a_crashed_engine_is_reported_in_the_stream(kube: Kube, address: str) -> None:
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, pod, KILL)
    killed = time.monotonic()
    received = stream.end()
    assert received.ended - killed < AT_ONCE
    assert not received.broken
    assert received.error["message"]
    eventually("another container serves", lambda: restarts(kube) > 0 and ready(kube), READY)


def test_a_stream_ends_at_once_with_a_pod_that_is_deleted_without_grace(
    kube: Kube, address: str
) -> None:
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    kube.run("delete", "pod", pod, "--grace-period=0", "--force")
    killed = time.monotonic()
    received = stream.end()
    assert received.ended - killed < AT_ONCE
    assert received.broken or received.error
    assert serving(kube, address) != pod


@pytest.mark.parametrize("native", ["true", "false"])
def test_a_replaced_pod_completes_its_streams_with_either_kind_of_sidecar(
    kube: Kube, address: str, models: dict[str, Path], native: str
) -> None:
    """A classic sidecar receives SIGTERM at the same time as the server."""
    chosen = {"sidecar.istio.io/nativeSidecar": native}
    template = {**modest(), "metadata": {"annotations": chosen}}
    apply(kube, models, 1, podTemplate=template, rollout={"drainSeconds": DRAIN})
    eventually(
        "one pod with this kind of sidecar",
        lambda: [native] == sidecars(kube) and ready(kube),
        READY,
    )
    wait_until_routed(address, HOST)
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, pod, STOP)
    kube.run("delete", "pod", pod, "--wait=false")
    time.sleep(LONGER_THAN_A_SIDECAR)
    send(kube, pod, CONTINUE)
    whole = stream.end()
    assert (whole.broken, whole.error, whole.events[-1]) == ("", {}, "[DONE]")


def test_a_stream_survives_the_switch_to_another_pod_set(
    kube: Kube, address: str, models: dict[str, Path]
) -> None:
    """The old set's sidecars get another listener when the Service no longer selects them."""
    rollout = {"strategy": "blueGreen", "blueGreen": {"keepOld": "10s"}, "drainSeconds": DRAIN}
    apply(kube, models, 1, rollout=rollout)
    eventually("the old set serves", lambda: serving(kube, address), READY)
    (old,) = pods(kube)
    note = {**modest(), "metadata": {"annotations": {"note": "new"}}}
    apply(kube, models, 1, rollout=rollout, podTemplate=note)
    eventually("the new set has a pod", lambda: len(pods(kube)) == 2, READY)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, old["metadata"]["name"], STOP)
    eventually(
        "the Service no longer selects the old set",
        lambda: selected(kube) != {old["metadata"]["name"]},
        READY,
    )
    time.sleep(SILENCE)
    send(kube, old["metadata"]["name"], CONTINUE)
    whole = stream.end()
    assert (whole.broken, whole.error, whole.events[-1]) == ("", {}, "[DONE]")
    eventually("only the new set is left", lambda: len(pods(kube)) == 1, READY)


def selected(kube: Kube) -> set[str]:
    """Return the ready pods that the Service selects."""
    slices = kube.all("endpointslices", "kubernetes.io/service-name=tiny")
    return {
        endpoint["targetRef"]["name"]
        for item in slices
        for endpoint in item["endpoints"] or []
        if endpoint["conditions"]["ready"]
    }


def sidecars(kube: Kube) -> list[str]:
    """Return for each pod whether its sidecar is native, as the annotation's value."""
    found = []
    for pod in pods(kube):
        names = [container["name"] for container in pod["spec"]["initContainers"]]
        found.append("true" if "istio-proxy" in names else "false")
    return found


def test_an_http_route_with_a_path_prefix_serves_requests_and_streams(
    kube: Kube, address: str, models: dict[str, Path]
) -> None:
    host, path = "all.example.com", "/models/other"
    kube.apply(model(models, "other", {"api": "gatewayAPI", "hosts": [host], "path": path}))
    try:
        eventually("ready", lambda: ready(kube, "other"), READY)
        eventually(
            "the route works",
            lambda: request(address, host, f"{path}/v1/models").status_code == 200,
        )
        assert kube.condition("other", "RoutesReady")["status"] == "True"
        assert request(address, host, "/v1/models").status_code == 404
        received = Stream(address, 150, "other", host, path).end()
        assert (received.broken, received.error, received.events[-1]) == ("", {}, "[DONE]")
    finally:
        kube.run("delete", "dsd", "other")


def ready(kube: Kube, name: str = "tiny") -> bool:
    return kube.condition(name).get("status") == "True"


def pods(kube: Kube) -> list[dict[str, Any]]:
    return kube.all("pod", "deepseek-operator.io/name=tiny")


def serving(kube: Kube, address: str) -> str:
    """Wait until the gateway routes to the only pod, and return its name."""
    eventually("one pod", lambda: len(pods(kube)) == 1 and ready(kube), READY)
    wait_until_routed(address, HOST)
    return str(pods(kube)[0]["metadata"]["name"])


def restarts(kube: Kube) -> int:
    """Return the number of restarts of the pod's containers."""
    (pod,) = pods(kube)
    return sum(item["restartCount"] for item in pod["status"].get("containerStatuses", []))
