"""Canaries and blueGreen with real models, requests of clients all the time, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hack.models.tiny import make_tiny
from tests.e2e.test_rollout import ready, reasons
from tests.support.e2e.product import Product
from tests.support.e2e.traffic import asked_all_the_time
from tests.support.kube import Kube, eventually, resource

READY = 300.0
# The tensors are tiny: on more threads the servers would only keep each other from answering.
ONE_THREAD = {"name": "OMP_NUM_THREADS", "value": "1"}
# Two servers share two cores with whatever else runs here: what is clear is far worse than that.
ANALYSIS = {"minRequests": 40, "warmUp": "5s", "maxTTFTRatio": 3, "maxITLRatio": 4}
CANARY = {
    "strategy": "canary",
    "canary": {"steps": [{"weight": 50, "pause": "10s"}], "analysis": ANALYSIS},
}


def model(models: dict[str, Path], note: str, rollout: dict[str, Any], **server: Any) -> Any:
    """A tiny model; another note is another revision, and so is all else about its server."""
    requests = {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi"}
    container = {"name": "server", "resources": {"requests": requests}, "env": [ONE_THREAD]}
    template = {"metadata": {"annotations": {"note": note}}, "spec": {"containers": [container]}}
    files = server.pop("files", models["qwen2"])
    served = {"id": "tiny", "source": {"hostPath": {"path": str(files)}}}
    return resource("tiny", model=served, podTemplate=template, rollout=rollout, **server)


def notes(kube: Kube) -> set[str]:
    """Of the pods that are there."""
    pods = kube.all("pod", "deepseek-operator.io/name=tiny")
    return {pod["metadata"]["annotations"]["note"] for pod in pods}


@pytest.fixture
def serving(kube: Kube, product: Product, models: dict[str, Path]) -> None:
    """A model that serves, with canaries chosen for what comes."""
    kube.apply(model(models, "old", CANARY))
    eventually("ready", lambda: ready(kube), READY)


def test_a_good_version_is_promoted_and_no_request_fails(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    with asked_all_the_time(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", CANARY))
        eventually("it is compared", lambda: "Comparing" in reasons(kube), READY)
        product.kill_operator()
        eventually("only the new one is there", lambda: notes(kube) == {"new"}, READY)
        eventually("ready", lambda: ready(kube), READY)
    assert set(outcomes) == {"200"}
    assert reasons(kube).count("RolloutFinished") == 1
    assert kube.get("deployment", "tiny") is None
    assert kube.get("deployment", "tiny-green") is not None


@pytest.mark.long
def test_a_slow_version_is_rolled_back_and_the_old_one_serves_on(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    # Layers so wide that each token takes many times as long.
    slow = make_tiny("qwen2", models["qwen2"].with_name("qwen2-slow"), intermediate_size=300_000)
    with asked_all_the_time(kube, "tiny") as outcomes:
        kube.apply(model(models, "slow", CANARY, files=slow))
        eventually("it is rolled back", lambda: "RolledBack" in reasons(kube), 2 * READY)
        eventually("only the old one is there", lambda: notes(kube) == {"old"}, READY)
    message = kube.condition("tiny")["message"]
    assert "AnalysisFailed" in message
    assert "p95: " in message
    assert set(outcomes) == {"200"}
    assert kube.condition("tiny", "Available")["status"] == "True"


@pytest.mark.long
def test_a_version_that_can_not_start_is_rolled_back(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    rules = {**CANARY, "progressDeadline": "30s"}
    with asked_all_the_time(kube, "tiny") as outcomes:
        kube.apply(model(models, "bad", rules, engine={"args": ["--no-such-flag"]}))
        eventually("it is rolled back", lambda: "RolledBack" in reasons(kube), READY)
        eventually("only the old one is there", lambda: notes(kube) == {"old"}, READY)
    assert "CandidateFailed" in kube.condition("tiny")["message"]
    assert set(outcomes) == {"200"}


def test_blue_green_switches_without_a_failed_request_and_back(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    rules = {"strategy": "blueGreen", "blueGreen": {"keepOld": "10m"}}
    with asked_all_the_time(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", rules))
        eventually("it is switched", lambda: "Switched" in reasons(kube), READY)
        assert notes(kube) == {"old", "new"}
        kube.apply(model(models, "old", rules))
        eventually("only the old one is there", lambda: notes(kube) == {"old"}, READY)
        eventually("ready", lambda: ready(kube), READY)
    assert set(outcomes) == {"200"}
    assert "RolloutWithdrawn" in reasons(kube)
