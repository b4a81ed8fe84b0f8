"""Real load on a real model adds and removes replicas, and no request fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.install import NAMESPACE, RELEASE
from hack.cluster.kubectl import kubectl
from hack.cluster.reach import service_address
from hack.cluster.target import Target
from tests.support.e2e.product import Product
from tests.support.kube import Kube, eventually, resource

API = "custom.metrics.k8s.io/v1beta2"
SERVICE = f"{RELEASE}-load"
MANY, FEW = 8, 1
SCALING = {
    "maxReplicas": 2,
    "target": {"requestsPerReplica": 2},
    "scaleIn": {"stabilizationSeconds": 10},
}
# Tiny tensors: with more threads a server under load would only delay the start of others.
ONE_THREAD = {
    "containers": [{"name": "server", "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}]
}
# Limits for a request, and for a start next to a server under load, on a busy machine; seconds.
PATIENCE = 300.0
START = 600.0


@dataclass
class Load:
    """Continuous requests by a number of clients that can change."""

    url: str
    clients: int
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        with ThreadPoolExecutor(self.clients) as pool:
            clients = [pool.submit(self._ask, number) for number in range(self.clients)]
            try:
                yield self
            finally:
                self._stop.set()
                for client in clients:
                    client.result()

    def _ask(self, number: int) -> None:
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": f"Client {number}: what is load?"}],
            "max_tokens": 32,
            "ignore_eos": True,
        }
        while not self._stop.is_set():
            if number >= self.clients:
                time.sleep(0.2)
                continue
            try:
                # A new connection for each request, so that the Service chooses a pod each time.
                answer = httpx.post(self.url, json=body, timeout=PATIENCE, trust_env=False)
                answer.raise_for_status()
                self.answered += 1
            except httpx.HTTPError as error:
                self.failures.append(repr(error))


def ready(kube: Kube, count: int) -> bool:
    status = (kube.get("dsd", "tiny") or {}).get("status", {})
    return bool(
        status.get("readyReplicas") == count
        and status["replicas"] == count
        and kube.condition("tiny").get("status") == "True"
    )


def load_of_pods(kube: Kube) -> dict[str, Any]:
    path = f"/apis/{API}/namespaces/{kube.namespace}/pods/*/deepseek_requests"
    answer = json.loads(kubectl(kube.target, "get", "--raw", path))
    return {item["describedObject"]["name"]: item["value"] for item in answer["items"]}


def test_load_adds_a_replica_and_its_end_removes_it(
    kube: Kube, product: Product, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"id": "tiny", "source": {"hostPath": {"path": str(models["qwen2"])}}}
    kube.apply(resource("tiny", model=model, scaling=SCALING, podTemplate={"spec": ONE_THREAD}))
    eventually("ready", lambda: ready(kube, 1), START)
    eventually(
        "autoscaling is active",
        lambda: kube.condition("tiny", "Autoscaling").get("status") == "True",
    )
    assert load_of_pods(kube) == {kube.all("pod")[0]["metadata"]["name"]: "0"}

    with service_address(kube.target, "tiny", kube.namespace) as address:
        load = Load(f"http://{address}/v1/chat/completions", MANY)
        eventually("the Service responds", lambda: answers(address))
        with load.running():
            started = time.monotonic()
            eventually("load is measured", lambda: "0" not in load_of_pods(kube).values())
            eventually("two replicas", lambda: ready(kube, 2), START)
            up = time.monotonic() - started
            assert len(load_of_pods(kube)) == 2
            eventually(
                "both replicas have load",
                lambda: min(map(int, load_of_pods(kube).values())) > 0,
                PATIENCE,
            )
            load.clients = FEW
            started = time.monotonic()
            eventually("one replica", lambda: ready(kube, 1), START)
            # The terminating pod completes its running requests.
            eventually("its pod is gone", lambda: len(kube.all("pod")) == 1, PATIENCE)
            down = time.monotonic() - started
            done = load.answered
            eventually("further requests are answered", lambda: load.answered > done, PATIENCE)
    assert load.failures == []
    with capsys.disabled():
        print(
            f"\n1 -> 2 replicas ready after {up:.0f} s of load, 2 -> 1 after {down:.0f} s of less "
            f"load, {load.answered} requests answered, none failed"
        )
    scaler = kube.get("hpa", "tiny")
    assert scaler is not None
    assert "Autoscaling" in kube.run("describe", "dsd", "tiny")


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v1/models", trust_env=False).is_success
    except httpx.ConnectError:
        return False


def test_only_the_api_server_may_query_the_metrics_api(cluster: Target, product: Product) -> None:
    if cluster.kind != "embedded":
        pytest.skip("a Service of the cluster can't be reached from this machine")
    address = kubectl(
        cluster, "--namespace", NAMESPACE, "get", "service", SERVICE,
        "--output", "jsonpath={.spec.clusterIP}",
    )  # fmt: skip
    pretended = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    for headers in ({}, pretended):
        answer = httpx.get(
            f"https://{address}:8443/apis/{API}",
            headers=headers,
            verify=False,  # noqa: S501 - a direct client does not know the authority
            trust_env=False,
        )
        assert answer.status_code == 401
        assert "Only the API server may call this API" in answer.json()["message"]


def test_the_api_service_is_owned_by_the_chart(cluster: Target, product: Product) -> None:
    text = kubectl(cluster, "get", "apiservice", f"v1beta2.{API.split('/')[0]}", "-o", "json")
    (owner,) = json.loads(text)["metadata"]["ownerReferences"]
    role = json.loads(kubectl(cluster, "get", "clusterrole", SERVICE, "--output", "json"))
    assert (owner["kind"], owner["uid"]) == ("ClusterRole", role["metadata"]["uid"])
