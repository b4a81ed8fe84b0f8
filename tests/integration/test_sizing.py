"""Sizing of models against a real API server: from a hub, and refused with an alternative."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.target import Target
from tests.support.kube import Kube, eventually, resource
from tests.support.operator.resources import TUNED
from tests.support.operator_process import OperatorProcess


class Handler(BaseHTTPRequestHandler):
    """A hub with one model."""

    def do_GET(self) -> None:
        found = self.path == "/someone/tuned/resolve/main/config.json"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(TUNED).encode() if found else b"")

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def gpus(kube: Kube, name: str) -> int | None:
    deployment = kube.get("deployment", name)
    if deployment is None:
        return None
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    return int(server["resources"]["limits"]["nvidia.com/gpu"])


def test_a_model_on_the_hub_is_sized_by_its_own_config_json(
    kube: Kube, api_server: Target, hub: str, tmp_path: Path
) -> None:
    operator = OperatorProcess(
        api_server.kubeconfig, tmp_path / "operator.log", DSO_HUB_ENDPOINT=hub
    )
    operator.start()
    try:
        kind = {"profile": "nvidia-l4"}
        kube.apply(
            resource("tuned", model={"id": "someone/tuned"}, accelerator=kind),
            resource("gone", model={"id": "someone/gone"}, accelerator=kind),
        )
        assert eventually("its Deployment", lambda: gpus(kube, "tuned")) == 4
        reported = eventually("a verdict", lambda: kube.condition("tuned", "Accepted"))
        assert reported["message"] == "The spec is accepted."
        assert eventually("the other's Deployment", lambda: gpus(kube, "gone")) == 1
        reported = eventually("a verdict", lambda: kube.condition("gone", "Accepted"))
        assert reported["status"] == "True"
        assert "resolve/main/config.json returned 404" in reported["message"]
    finally:
        operator.kill()


def test_a_model_that_does_not_fit_is_refused_with_an_alternative_that_works(
    kube: Kube, operator: OperatorProcess
) -> None:
    model = {"id": "deepseek-ai/DeepSeek-R1"}
    kube.apply(resource("r1", model=model, accelerator={"profile": "nvidia-h100"}))
    reported = eventually("a verdict", lambda: kube.condition("r1", "Accepted"))
    assert (reported["status"], reported["reason"]) == ("False", "DoesNotFit")
    assert "or 8 x nvidia-h200" in reported["message"]
    assert kube.get("deployment", "r1") is None
    kube.apply(resource("r1", model=model, accelerator={"profile": "nvidia-h200"}))
    assert eventually("its Deployment", lambda: gpus(kube, "r1")) == 8
    stored = kube.get("dsd", "r1")
    assert stored is not None
    assert stored["status"]["resolved"]["tensorParallel"] == 8
    assert "requests at once" in stored["status"]["resolved"]["concurrency"]
