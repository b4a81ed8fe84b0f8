"""Latency added to a request by gateway, sidecar and policies: `python -m benchmarks.operator.route`.

The same tiny model runs twice on the embedded cluster: behind its Service only, and behind a gateway
and a sidecar with mTLS STRICT, a route and all policies of the operator. Requests alternate, so that
other load on the machine affects both. Table on standard error, JSON on standard output.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from hack.cluster.embedded import DEFAULT_STATE, REPOSITORY, EmbeddedCluster
from hack.cluster.images.build import built_images
from hack.cluster.install import install
from hack.cluster.kubectl import kubectl
from hack.cluster.progress import step
from hack.models.tiny import make_tiny
from tests.support.e2e.gateway import NAME, address_of, gateway, istio_gateway, wait_until_routed
from tests.support.kube import MODEST, Kube, resource

HOST = "meshed.example.com"
NAMESPACE = "bench-route"
DIRECT, ROUTED = "direct", "routed"
# With more threads the two servers and the sidecar would compete for the cores.
ONE_THREAD = {**MODEST, "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}
WARM_UP, STREAM_TOKENS = 30, 100
Way = tuple[str, dict[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operator.route", description=__doc__
    )
    parser.add_argument("--requests", type=int, default=400, help="requests on each path")
    parser.add_argument("--streams", type=int, default=20, help="streams on each path")
    plan = parser.parse_args()
    model = make_tiny("qwen2", REPOSITORY / ".cluster/test-models/qwen2")
    cluster = EmbeddedCluster(DEFAULT_STATE)
    started = cluster.up(("node", "registry", "istio"), lifeline=True)
    try:
        install(cluster, built_images(cluster))
        kubectl(cluster, "create", "namespace", NAMESPACE)
        kube = Kube(cluster, NAMESPACE)
        with step("two models, one behind a gateway"):
            ways = arranged(kube, model)
        with step(f"{plan.requests} requests and {plan.streams} streams each"):
            found = measured(ways, plan.requests, plan.streams)
        kubectl(cluster, "delete", "namespace", NAMESPACE, "--wait=false")
    finally:
        if started:
            cluster.down()
    print(table(found), file=sys.stderr)
    print(json.dumps(found, indent=2))
    return 0


def arranged(kube: Kube, directory: Path) -> dict[str, Way]:
    """Return URL and headers of both paths."""
    kube.apply(gateway(), istio_gateway())
    served = {"servedName": "tiny", "source": {"hostPath": {"path": str(directory)}}}
    route = {"api": "istio", "hosts": [HOST], "gateway": {"name": NAME, "protocol": "http"}}
    spec = {
        "model": {"id": "tiny", **served},
        "podTemplate": {"spec": {"containers": [ONE_THREAD]}},
    }
    kube.apply(
        resource("direct", **spec),
        resource("meshed", **spec, routing=route, security={"mtls": "STRICT"}),
    )
    for name in ("direct", "meshed"):
        kube.run("wait", "--for=condition=Ready", f"dsd/{name}", "--timeout=300s")
    address = address_of(kube)
    wait_until_routed(address, HOST)
    service = kube.get("service", "direct")
    assert service is not None
    return {
        DIRECT: (f"http://{service['spec']['clusterIP']}", {}),
        ROUTED: (f"http://{address}", {"Host": HOST}),
    }


def measured(ways: dict[str, Way], requests: int, streams: int) -> dict[str, Any]:
    """Return the milliseconds of a one-token request, and between two tokens of a stream."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        for way in ways.values():
            for _ in range(WARM_UP):
                request(client, way)
        whole: dict[str, list[float]] = {name: [] for name in ways}
        gaps: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(requests):
            for name, way in ways.items():
                whole[name].append(request(client, way))
        for _ in range(streams):
            for name, way in ways.items():
                gaps[name] += stream(client, way)
    request_ms = {name: summary(values) for name, values in whole.items()}
    token_ms = {name: summary(values) for name, values in gaps.items()}
    return {
        "request_ms": request_ms | {"added": added(request_ms)},
        "token_ms": token_ms | {"added": added(token_ms)},
        "requests": requests,
        "streams": streams,
    }


def request(client: httpx.Client, way: Way) -> float:
    """Return the seconds of a short answer."""
    url, headers = way
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": 1}
    begun = time.perf_counter()
    client.post(f"{url}/v1/completions", json=body, headers=headers).raise_for_status()
    return time.perf_counter() - begun


def stream(client: httpx.Client, way: Way) -> list[float]:
    """Return the seconds between the tokens of a stream."""
    url, headers = way
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": STREAM_TOKENS, "stream": True}
    with client.stream(
        "POST", f"{url}/v1/completions", json=body | {"ignore_eos": True}, headers=headers
    ) as answer:
        answer.raise_for_status()
        times = [time.perf_counter() for line in lines(answer) if line != "data: [DONE]"]
    return [after - before for before, after in pairwise(times)]


def lines(answer: httpx.Response) -> Iterator[str]:
    return (line for line in answer.iter_lines() if line.startswith("data: "))


def summary(seconds: list[float]) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    parts = statistics.quantiles(seconds, n=100)
    return {"p50": round(1000 * parts[49], 3), "p99": round(1000 * parts[98], 3)}


def added(ways: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: round(ways[ROUTED][name] - ways[DIRECT][name], 3) for name in ("p50", "p99")}


def table(found: dict[str, Any]) -> str:
    rows = [f"{'':24}{'direct':>10}{'routed':>10}{'added':>10}"]
    for what in ("request_ms", "token_ms"):
        for part in ("p50", "p99"):
            cells = (found[what][name][part] for name in (DIRECT, ROUTED, "added"))
            rows.append(f"{what} {part:12}".ljust(24) + "".join(f"{cell:10.2f}" for cell in cells))
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())
