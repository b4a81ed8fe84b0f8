"""An API that is installed, removed and installed again while the operator runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.target import Target
from tests.support.foreign_kind import ForeignKind
from tests.support.kube import Audit, Kube, eventually, resource
from tests.support.operator_process import OperatorProcess

# The operator polls for it every ten seconds.
MONITOR = ForeignKind("PodMonitor", "monitoring.coreos.com", "v1")
MONITORS = MONITOR.name


@pytest.fixture
def install(api_server: Target) -> Iterator[Callable[[], None]]:
    yield lambda: MONITOR.install(api_server)
    MONITOR.remove(api_server)


def by_operator(entry: dict[str, Any]) -> bool:
    return "kubectl" not in entry["userAgent"]


def test_pod_monitors_follow_their_api(
    kube: Kube,
    operator: OperatorProcess,
    install: Callable[[], None],
    audit_log: Path,
) -> None:
    kube.apply(
        resource("any"),
        resource("must", observability={"podMonitor": True}),
        resource("never", observability={"podMonitor": False}),
    )
    reported = eventually("a verdict", lambda: kube.condition("must", "Accepted"))
    assert (reported["status"], reported["reason"]) == ("False", "ApiMissing")
    assert "kubectl apply" in reported["message"]
    eventually("the others' children", lambda: kube.get("deployment", "any"))
    assert kube.get("deployment", "must") is None

    install()
    eventually("a monitor", lambda: kube.get(MONITORS, "any"))
    eventually("the one that needed it", lambda: kube.get(MONITORS, "must"))
    eventually("its Deployment", lambda: kube.get("deployment", "must"))
    assert kube.condition("must", "Accepted")["status"] == "True"
    assert kube.get(MONITORS, "never") is None

    kube.run("delete", MONITORS, "any")
    eventually("the monitor is back", lambda: kube.get(MONITORS, "any"))
    kube.run("patch", MONITORS, "any", "--type=merge", "--patch", '{"spec": {"selector": null}}')
    eventually(
        "the monitor is repaired",
        lambda: "selector" in (kube.get(MONITORS, "any") or {})["spec"],
    )

    kube.run("delete", "crd", MONITORS)
    eventually(
        "the missing API is reported",
        lambda: kube.condition("must", "Accepted")["reason"] == "ApiMissing",
    )
    assert kube.get("deployment", "must"), "the existing Deployment stays"
    steady = Audit(audit_log, kube.namespace)
    time.sleep(5)
    writes = steady.writes(by_operator)
    # The Event may follow a moment after the status.
    assert writes.pop("create events", 0) <= 1
    assert writes == {}, "the operator does not retry in a loop"
    kube.apply(resource("any", replicas=3))
    eventually(
        "edits arrive", lambda: (kube.get("deployment", "any") or {})["spec"]["replicas"] == 3
    )

    install()
    eventually("the monitor is created again", lambda: kube.get(MONITORS, "any"))
    assert "Traceback" not in operator.log
