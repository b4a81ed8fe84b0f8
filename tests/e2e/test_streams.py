"""Long streams through gateway and sidecars: silence breaks none, and what breaks one is told at once."""

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
from tests.support.e2e.gateway import NAME, address_of, asked, namespace_with_gateway, reaches
from tests.support.e2e.probe_image import push_probe
from tests.support.e2e.probes import probe
from tests.support.e2e.product import Product
from tests.support.kube import Kube, Object, eventually, modest, resource

# Istio takes minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("mesh")]

READY = 300.0
HOST = "tiny.example.com"
# As long as many proxies wait by default, and more.
SILENCE, TIMES = 70, 5
# From what breaks a stream until its client knows: far less than any timeout.
AT_ONCE = 10.0
STREAM_TOKENS = 4000
# Seconds for a stream to end where nothing else is tested: a busy machine needs ten times as long.
DRAIN = 900
# Seconds; after its SIGTERM a sidecar of the old kind waits for five by default.
LONGER_THAN_A_SIDECAR = 12


@pytest.fixture(scope="module")
def kube(cluster: Target, product: Product) -> Iterator[Kube]:
    """A namespace with a gateway."""
    with namespace_with_gateway(cluster, "streams") as kube:
        yield kube


@pytest.fixture(scope="module")
def address(kube: Kube, models: dict[str, Path]) -> str:
    """The gateway's, with one replica of a tiny model behind it."""
    apply(kube, models, 1)
    eventually("ready", lambda: ready(kube), READY)
    address = address_of(kube)
    reaches(address, HOST)
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
class Heard:
    """What a client heard of one stream, and when it ended (monotonic seconds)."""

    events: list[str]
    broken: str = ""
    ended: float = 0.0

    @property
    def error(self) -> dict[str, Any]:
        """The error that the server told in the stream."""
        for event in self.events:
            if event.startswith("{") and "error" in json.loads(event):
                return dict(json.loads(event)["error"])
        return {}


class Stream:
    """One long answer of a model, heard in a thread."""

    def __init__(
        self, address: str, tokens: int, model: str = "tiny", host: str = HOST, path: str = ""
    ) -> None:
        self.heard = Heard([])
        self._url, self._host = f"http://{address}{path}/v1/completions", host
        body = {"model": model, "prompt": "Hello", "max_tokens": tokens, "stream": True}
        self._body = body | {"ignore_eos": True, "stream_options": {"include_usage": True}}
        self._pool = ThreadPoolExecutor(1)
        self._hearing = self._pool.submit(self._hear)
        eventually("the answer has begun", self._has_begun)

    def _has_begun(self) -> bool:
        if self._hearing.done():
            self._hearing.result()  # raises what ended it
        return len(self.heard.events) > 3

    def _hear(self) -> None:
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
                        self.heard.events.append(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            self.heard.broken = repr(error)
        self.heard.ended = time.monotonic()

    def end(self) -> Heard:
        """Wait for its end."""
        self._hearing.result()
        self._pool.shutdown()
        return self.heard


def test_silence_on_the_wire_breaks_nothing(
    kube: Kube, address: str, models: dict[str, Path]
) -> None:
    """Behind the route of a model that is stopped stands a server that sends no heartbeats."""
    apply(kube, models, 0)
    service = kube.get("service", "tiny")
    assert service is not None
    labels = {**service["spec"]["selector"], "sidecar.istio.io/inject": "true"}
    pod = probe("silent", push_probe(kube.target), port=8000, **labels)
    kube.apply(*pod)
    try:
        kube.run("wait", "--for=condition=Ready", "pod/silent", "--timeout=120s")
        path = "/v1/words?count=1&silence=0"
        eventually("it is reached", lambda: asked(address, HOST, path).status_code == 200)
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


def test_an_engine_that_computes_for_long_breaks_nothing(kube: Kube, address: str) -> None:
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, pod, STOP)
    heard = len(stream.heard.events)
    time.sleep(SILENCE)
    assert len(stream.heard.events) <= heard + 5, "what was on its way"
    send(kube, pod, CONTINUE)
    whole = stream.end()
    assert not whole.broken
    assert whole.events[-1] == "[DONE]"
    assert json.loads(whole.events[-2])["usage"]["completion_tokens"] == STREAM_TOKENS


def test_an_engine_that_dies_is_told_in_the_stream(kube: Kube, address: str) -> None:
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, pod, KILL)
    killed = time.monotonic()
    heard = stream.end()
    assert heard.ended - killed < AT_ONCE
    assert not heard.broken
    assert heard.error["message"]
    eventually("another container serves", lambda: restarts(kube) > 0 and ready(kube), READY)


def test_a_pod_that_is_gone_at_once_leaves_nobody_waiting(kube: Kube, address: str) -> None:
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    kube.run("delete", "pod", pod, "--grace-period=0", "--force")
    killed = time.monotonic()
    heard = stream.end()
    assert heard.ended - killed < AT_ONCE
    assert heard.broken or heard.error
    assert serving(kube, address) != pod


@pytest.mark.parametrize("native", ["true", "false"])
def test_a_pod_that_is_replaced_ends_its_streams_whole_whatever_its_sidecar(
    kube: Kube, address: str, models: dict[str, Path], native: str
) -> None:
    """A sidecar that is no native one gets SIGTERM together with the server."""
    chosen = {"sidecar.istio.io/nativeSidecar": native}
    template = {**modest(), "metadata": {"annotations": chosen}}
    apply(kube, models, 1, podTemplate=template, rollout={"drainSeconds": DRAIN})
    eventually("one such pod", lambda: [native] == sidecars(kube) and ready(kube), READY)
    reaches(address, HOST)
    pod = serving(kube, address)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, pod, STOP)
    kube.run("delete", "pod", pod, "--wait=false")
    time.sleep(LONGER_THAN_A_SIDECAR)
    send(kube, pod, CONTINUE)
    whole = stream.end()
    assert (whole.broken, whole.error, whole.events[-1]) == ("", {}, "[DONE]")


def test_a_stream_outlives_the_switch_to_another_set(
    kube: Kube, address: str, models: dict[str, Path]
) -> None:
    """The old set's sidecars get another listener when the Service leaves them."""
    rollout = {"strategy": "blueGreen", "blueGreen": {"keepOld": "10s"}, "drainSeconds": DRAIN}
    apply(kube, models, 1, rollout=rollout)
    eventually("the old set serves", lambda: serving(kube, address), READY)
    (old,) = pods(kube)
    note = {**modest(), "metadata": {"annotations": {"note": "new"}}}
    apply(kube, models, 1, rollout=rollout, podTemplate=note)
    eventually("the new set is being made", lambda: len(pods(kube)) == 2, READY)
    stream = Stream(address, STREAM_TOKENS)
    send(kube, old["metadata"]["name"], STOP)
    eventually(
        "the Service has left the old set",
        lambda: selected(kube) != {old["metadata"]["name"]},
        READY,
    )
    time.sleep(SILENCE)
    send(kube, old["metadata"]["name"], CONTINUE)
    whole = stream.end()
    assert (whole.broken, whole.error, whole.events[-1]) == ("", {}, "[DONE]")
    eventually("only the new set is there", lambda: len(pods(kube)) == 1, READY)


def selected(kube: Kube) -> set[str]:
    """The pods that the Service leads to."""
    slices = kube.all("endpointslices", "kubernetes.io/service-name=tiny")
    return {
        endpoint["targetRef"]["name"]
        for item in slices
        for endpoint in item["endpoints"] or []
        if endpoint["conditions"]["ready"]
    }


def sidecars(kube: Kube) -> list[str]:
    """For each pod, whether its sidecar is a native one, in the words of the annotation."""
    found = []
    for pod in pods(kube):
        names = [container["name"] for container in pod["spec"]["initContainers"]]
        found.append("true" if "istio-proxy" in names else "false")
    return found


def test_an_http_route_leads_below_a_path_and_breaks_no_stream(
    kube: Kube, address: str, models: dict[str, Path]
) -> None:
    host, path = "all.example.com", "/models/other"
    kube.apply(model(models, "other", {"api": "gatewayAPI", "hosts": [host], "path": path}))
    try:
        eventually("ready", lambda: ready(kube, "other"), READY)
        eventually(
            "the route works",
            lambda: asked(address, host, f"{path}/v1/models").status_code == 200,
        )
        assert kube.condition("other", "RoutesReady")["status"] == "True"
        assert asked(address, host, "/v1/models").status_code == 404
        heard = Stream(address, 150, "other", host, path).end()
        assert (heard.broken, heard.error, heard.events[-1]) == ("", {}, "[DONE]")
    finally:
        kube.run("delete", "dsd", "other")


def ready(kube: Kube, name: str = "tiny") -> bool:
    return kube.condition(name).get("status") == "True"


def pods(kube: Kube) -> list[dict[str, Any]]:
    return kube.all("pod", "deepseek-operator.io/name=tiny")


def serving(kube: Kube, address: str) -> str:
    """The name of the one pod that serves, when the gateway has got to know it."""
    eventually("one pod", lambda: len(pods(kube)) == 1 and ready(kube), READY)
    reaches(address, HOST)
    return str(pods(kube)[0]["metadata"]["name"])


def restarts(kube: Kube) -> int:
    """How often the server's container was started again."""
    (pod,) = pods(kube)
    return sum(item["restartCount"] for item in pod["status"].get("containerStatuses", []))
