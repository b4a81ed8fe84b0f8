"""Canary and blueGreen rollouts of real models under continuous requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hack.models.tiny import make_tiny
from tests.e2e.test_rollout import ready, reasons
from tests.support.e2e.product import Product
from tests.support.e2e.traffic import continuous_requests
from tests.support.kube import Kube, eventually, resource

READY = 300.0
# Tiny tensors: with more threads the servers would only compete for the cores.
ONE_THREAD = {"name": "OMP_NUM_THREADS", "value": "1"}
# Wide limits, since both servers share two cores with other processes; a bad candidate exceeds them.
ANALYSIS = {"minRequests": 40, "warmUp": "5s", "maxTTFTRatio": 3, "maxITLRatio": 4}
CANARY = {
    "strategy": "canary",
    "canary": {"steps": [{"weight": 50, "pause": "10s"}], "analysis": ANALYSIS},
}


def model(models: dict[str, Path], note: str, rollout: dict[str, Any], **server: Any) -> Any:
    """Return a resource with a tiny model; another note or server field makes another revision."""
    requests = {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi"}
    container = {"name": "server", "resources": {"requests": requests}, "env": [ONE_THREAD]}
    template = {"metadata": {"annotations": {"note": note}}, "spec": {"containers": [container]}}
    files = server.pop("files", models["qwen2"])
    served = {"id": "tiny", "source": {"hostPath": {"path": str(files)}}}
    return resource("tiny", model=served, podTemplate=template, rollout=rollout, **server)


def notes(kube: Kube) -> set[str]:
    """Return the notes of the existing pods."""
    pods = kube.all("pod", "deepseek-operator.io/name=tiny")
    return {pod["metadata"]["annotations"]["note"] for pod in pods}


@pytest.fixture
def serving(kube: Kube, product: Product, models: dict[str, Path]) -> None:
    """A serving model with canary rollouts."""
    kube.apply(model(models, "old", CANARY))
    eventually("ready", lambda: ready(kube), READY)


def test_a_good_candidate_is_promoted_and_no_request_fails(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    with continuous_requests(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", CANARY))
        eventually("the comparison begins", lambda: "Comparing" in reasons(kube), READY)
        product.kill_operator()
        eventually("only the candidate is left", lambda: notes(kube) == {"new"}, READY)
        eventually("ready", lambda: ready(kube), READY)
    assert set(outcomes) == {"200"}
    assert reasons(kube).count("RolloutFinished") == 1
    assert kube.get("deployment", "tiny") is None
    assert kube.get("deployment", "tiny-green") is not None


@pytest.mark.long
def test_a_slow_candidate_is_rolled_back_while_the_stable_set_serves(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    # Wider layers, so that each token takes many times as long.
    slow = make_tiny("qwen2", models["qwen2"].with_name("qwen2-slow"), intermediate_size=300_000)
    with continuous_requests(kube, "tiny") as outcomes:
        kube.apply(model(models, "slow", CANARY, files=slow))
        eventually("the candidate is rolled back", lambda: "RolledBack" in reasons(kube), 2 * READY)
        eventually("only the stable set is left", lambda: notes(kube) == {"old"}, READY)
    message = kube.condition("tiny")["message"]
    assert "AnalysisFailed" in message
    assert "p95: " in message
    assert set(outcomes) == {"200"}
    assert kube.condition("tiny", "Available")["status"] == "True"


@pytest.mark.long
def test_a_candidate_that_cannot_start_is_rolled_back(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    rules = {**CANARY, "progressDeadline": "30s"}
    with continuous_requests(kube, "tiny") as outcomes:
        kube.apply(model(models, "bad", rules, engine={"args": ["--no-such-flag"]}))
        eventually("the candidate is rolled back", lambda: "RolledBack" in reasons(kube), READY)
        eventually("only the stable set is left", lambda: notes(kube) == {"old"}, READY)
    assert "CandidateFailed" in kube.condition("tiny")["message"]
    assert set(outcomes) == {"200"}


def test_blue_green_switches_and_back_without_a_failed_request(
    kube: Kube, product: Product, serving: None, models: dict[str, Path]
) -> None:
    rules = {"strategy": "blueGreen", "blueGreen": {"keepOld": "10m"}}
    with continuous_requests(kube, "tiny") as outcomes:
        kube.apply(model(models, "new", rules))
        eventually("traffic is switched", lambda: "Switched" in reasons(kube), READY)
        assert notes(kube) == {"old", "new"}
        kube.apply(model(models, "old", rules))
        eventually("only the stable set is left", lambda: notes(kube) == {"old"}, READY)
        eventually("ready", lambda: ready(kube), READY)
    assert set(outcomes) == {"200"}
    assert "RolloutWithdrawn" in reasons(kube)
