"""Waiting for a resource ends when it is ready, or when it cannot become ready."""

import json

import pytest

from hack.cluster import waiting
from hack.cluster.faults import ClusterError


def resource(status, reason, generation=1, phase="Doing"):
    condition = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": f"About {reason}.",
        "observedGeneration": generation,
    }
    return {
        "metadata": {"generation": 1},
        "status": {"phase": phase, "conditions": [condition]},
    }


@pytest.fixture
def wait(monkeypatch):
    """Return a function that waits with a sequence of states, the last of which persists."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0)

    def run(*states, timeout=10.0):
        left = list(states)

        def kubectl(_target, *_arguments):
            return json.dumps(left.pop(0) if len(left) > 1 else left[0])

        monkeypatch.setattr(waiting, "kubectl", kubectl)
        return waiting.wait_until_ready(object(), "tiny", "default", timeout)

    return run


def test_ready(wait):
    ready = resource("True", "Ready")
    assert wait({"metadata": {"generation": 1}}, resource("False", "Loading"), ready) == ready


def test_a_condition_of_an_older_spec_is_ignored(wait):
    older = resource("True", "Ready", generation=0)
    ready = resource("True", "Ready", phase="Ready: 1 of 1")
    assert wait(older, ready) == ready


def test_a_permanent_fault_ends_with_the_operators_message(wait):
    broken = resource("False", "ModelUnusable", phase="The model can't be loaded")
    with pytest.raises(ClusterError, match=r"can't be loaded\. About ModelUnusable\."):
        wait(resource("False", "Starting"), broken)


def test_a_transient_fault_is_waited_out(wait, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 60)
    ready = resource("True", "Ready")
    assert wait(resource("False", "ImageUnavailable"), resource("False", "Loading"), ready) == ready


def test_timeout(wait):
    with pytest.raises(ClusterError, match="tiny is not ready"):
        wait(resource("False", "Loading"), timeout=0)
