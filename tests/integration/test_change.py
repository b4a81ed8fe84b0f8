"""Canary and blueGreen rollouts against a real API server, with kills of the operator.

There is no scheduler and no kubelet here: tests write the pods and the Deployments' status, and the
servers in the pods are stand-ins on loopback with the metrics of the real one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.plan.state.labels import labels
from tests.integration.test_operator import by_operator
from tests.support.kube import Audit, Kube, eventually, resource
from tests.support.model_servers import ModelServer
from tests.support.operator_process import OperatorProcess

ANALYSIS = {"minRequests": 50, "warmUp": "30s"}
CANARY = {
    "strategy": "canary",
    "canary": {"steps": [{"weight": 20, "pause": "1s"}], "analysis": ANALYSIS},
}
BLUE_GREEN = {"strategy": "blueGreen", "blueGreen": {"keepOld": "5s", "checkRequests": 2}}
# Seconds to wait for what needs several passes of the operator.
LOOKS = 60.0


class Site:
    """A resource whose pods a test creates.

    Args:
        kube: Namespace of the test.
        number: Third octet of the servers' addresses, which differs between tests.
    """

    def __init__(self, kube: Kube, number: int) -> None:
        self.kube = kube
        self.number = number
        self.servers: dict[str, ModelServer] = {}
        self.more: dict[str, Any] = {}

    def apply(self, note: str, **rollout: Any) -> None:
        """Apply the resource; another note is another revision."""
        template = {"metadata": {"annotations": {"note": note}}}
        self.kube.apply(resource("r1", podTemplate=template, rollout=rollout, **self.more))

    def pod(self, name: str, slot: Any, ready: bool = True) -> ModelServer | None:
        """Create a pod of a set that has served for an hour, or does not serve."""
        container = {"name": "server", "image": "x"}
        self.kube.apply({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels("r1", slot)},
            "spec": {"containers": [container], "automountServiceAccountToken": False},
        })  # fmt: skip
        address = f"127.0.{self.number}.{len(self.servers) + 1}"
        self.servers[name] = ModelServer(address)
        self.tell(name, ready, address)
        return self.servers[name]

    def tell(self, name: str, ready: bool, address: str, since: float = 3600) -> None:
        """Write the status that the kubelet would write for a pod."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - since))
        status = {
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp},
                {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp},
            ],
        }
        text = json.dumps({"status": status})
        self.kube.run("patch", "pod", name, "--subresource=status", "-p", text)

    def counts(self, name: str, replicas: int) -> None:
        """Write the status that a Deployment's controller would write for the newest spec."""
        found = eventually(f"Deployment {name}", lambda: self.kube.get("deployment", name))
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
        }
        text = json.dumps({"status": status})
        self.kube.run("patch", "deployment", name, "--subresource=status", "-p", text)

    def settle(self, name: str, noted: bool = True) -> None:
        """Write it once the Deployment has a revision, or none any more.

        The revision is an annotation, whose change raises the generation.
        """

        def carries() -> bool:
            found = self.kube.get("deployment", name) or {}
            return "deepseek-operator.io/revision" in found["metadata"]["annotations"]

        eventually("the revision annotation", lambda: carries() is noted)
        self.counts(name, 1)

    def rollout(self) -> dict[str, Any]:
        return (self.kube.get("dsd", "r1") or {}).get("status", {}).get("rollout", {})

    def record(self) -> dict[str, Any]:
        service = self.kube.get("service", "r1")
        assert service is not None
        notes = service["metadata"]["annotations"]
        found: dict[str, Any] = json.loads(notes.get("deepseek-operator.io/rollout", "{}"))
        return found

    def selected(self) -> str:
        """Return the set that the Service selects, or `both`."""
        service = self.kube.get("service", "r1")
        assert service is not None
        return str(service["spec"]["selector"].get("app.kubernetes.io/instance", "both"))


@pytest.fixture
def site(kube: Kube, operator: OperatorProcess, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A resource with one serving replica, created with the strategy auto."""
    kube.run("create", "serviceaccount", "default")
    found = Site(kube, 10 + sum(map(ord, request.node.name)) % 200)
    found.apply("a")
    found.counts("r1", 1)
    found.pod("r1-a", "blue")
    eventually("ready", lambda: kube.condition("r1").get("status") == "True")
    yield found
    for server in found.servers.values():
        server.close()


def begun(site: Site, rollout: dict[str, Any]) -> None:
    """Choose a strategy, change the spec, and create the pod of the new set."""
    site.apply("a", **rollout)
    eventually("a record", lambda: site.record().get("revision"))
    site.settle("r1")
    site.apply("b", **rollout)
    site.counts("r1-green", 1)
    site.pod("r1-green-b", "green")


def test_choosing_a_strategy_touches_no_pod(site: Site, kube: Kube, audit_log: Path) -> None:
    before = kube.get("deployment", "r1")
    assert before is not None
    site.apply("a", **CANARY)
    eventually("a record", lambda: site.record().get("revision"))
    site.settle("r1")
    eventually("ready", lambda: kube.condition("r1").get("status") == "True")
    after = kube.get("deployment", "r1")
    assert after is not None
    assert after["spec"] == before["spec"]
    assert len(kube.all("controllerrevision")) == 1
    quiet = Audit(audit_log, kube.namespace)
    time.sleep(2)
    assert not quiet.writes(by_operator), "the operator does not stop writing"


def test_a_good_canary_is_promoted_across_restarts(
    site: Site, kube: Kube, operator: OperatorProcess
) -> None:
    begun(site, CANARY)
    operator.kill()
    operator.start()
    eventually("the comparison begins", lambda: site.record().get("since"), LOOKS)
    assert site.selected() == "both"
    rollout = site.rollout()
    assert (rollout["strategy"], rollout["step"], rollout["steps"]) == ("canary", 1, 1)
    assert rollout["weight"] == 50
    eventually("it needs requests", lambda: "of the 50 requests" in str(site.rollout()), LOOKS)
    for server in site.servers.values():
        server.answered(80)
    operator.kill()
    operator.start()
    eventually("it passes", lambda: site.record().get("step") == 1 or not site.rollout(), LOOKS)
    eventually("the old set is gone", lambda: kube.get("deployment", "r1") is None, LOOKS)
    kube.run("delete", "pod", "r1-a", "--grace-period=0", "--force")
    record = site.record()
    assert (record["stable"], "candidate" in record) == ("green", False)
    eventually("ready", lambda: kube.condition("r1").get("status") == "True", LOOKS)
    eventually("one revision is left", lambda: len(kube.all("controllerrevision")) == 1)
    assert kube.get("configmap", "r1") is None
    reasons = [event["reason"] for event in kube.events("r1")]
    assert reasons.count("RolloutFinished") == 1
    assert "Comparing" in reasons


def test_a_canary_that_fails_requests_stays_rolled_back(
    site: Site, kube: Kube, operator: OperatorProcess
) -> None:
    begun(site, CANARY)
    eventually("the comparison begins", lambda: site.record().get("since"), LOOKS)
    site.servers["r1-a"].answered(200)
    site.servers["r1-green-b"].answered(60, errors=30)
    eventually("it is gone", lambda: kube.get("deployment", "r1-green") is None, LOOKS)
    assert site.selected() == "r1"
    eventually("the rollback", lambda: kube.condition("r1").get("reason") == "RolledBack")
    assert "Failed requests: 50.0%" in kube.condition("r1", "Progressing")["message"]
    assert kube.condition("r1", "Stalled")["status"] == "True"
    assert kube.condition("r1", "Available")["status"] == "True"
    assert "Rolled back: Failed requests" in kube.run("get", "dsd", "r1", "--no-headers")
    (event,) = [event for event in kube.events("r1") if event["reason"] == "RolledBack"]
    assert event["type"] == "Warning"
    kube.run("delete", "pod", "r1-green-b", "--grace-period=0", "--force")
    operator.kill()
    operator.start()
    time.sleep(3)
    assert kube.get("deployment", "r1-green") is None
    # A return to the old spec ends it.
    site.apply("a", **CANARY)
    eventually("ready", lambda: kube.condition("r1").get("status") == "True")
    assert not site.rollout()
    eventually("the Service selects both", lambda: site.selected() == "both")


def test_a_slow_canary_is_rolled_back(site: Site, kube: Kube) -> None:
    begun(site, CANARY)
    eventually("the comparison begins", lambda: site.record().get("since"), LOOKS)
    site.servers["r1-a"].answered(200)
    site.servers["r1-green-b"].answered(200, seconds=0.8)
    eventually("the rollback", lambda: kube.condition("r1").get("reason") == "RolledBack", LOOKS)
    assert "Time to first token, p95" in kube.condition("r1")["message"]


def test_a_revision_can_be_replaced_aborted_and_promoted(site: Site, kube: Kube) -> None:
    begun(site, CANARY)
    first = eventually("it starts", lambda: site.rollout().get("revision"), LOOKS)
    site.apply("c", **CANARY)
    second = eventually(
        "the newest", lambda: (r := site.rollout().get("revision")) != first and r, LOOKS
    )
    site.apply("c", **CANARY, abort=second)
    eventually("aborted", lambda: "(Aborted)" in kube.condition("r1").get("message", ""), LOOKS)
    assert kube.get("deployment", "r1-green") is None
    site.apply("b", **CANARY, abort=second, promote=first)
    eventually("it begins", lambda: site.rollout().get("reason") == "TakesOver", LOOKS)
    site.counts("r1-green", 1)
    eventually("promoted", lambda: kube.get("deployment", "r1") is None, LOOKS)
    assert site.record()["revision"] == first


def test_blue_green_tests_then_switches_and_switches_back_at_once(site: Site, kube: Kube) -> None:
    rules = {**BLUE_GREEN, "blueGreen": {"keepOld": "1h", "checkRequests": 2}}
    begun(site, rules)
    eventually("it is switched", lambda: site.selected() == "r1-green", LOOKS)
    served = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    assert [asked["model"] for asked in site.servers["r1-green-b"].asked] == [served] * 2
    assert kube.get("deployment", "r1") is not None, "the old set is kept"
    eventually("the switch", lambda: site.rollout().get("reason") == "Switched", LOOKS)
    site.apply("a", **rules)
    eventually("it is switched back", lambda: site.selected() != "r1-green")
    eventually("the new set is gone", lambda: kube.get("deployment", "r1-green") is None)


def test_blue_green_does_not_switch_to_a_set_that_fails_test_requests(
    site: Site, kube: Kube
) -> None:
    site.apply("a", **BLUE_GREEN)
    eventually("a record", lambda: site.record().get("revision"))
    site.settle("r1")
    site.apply("b", **BLUE_GREEN)
    eventually("the new set", lambda: kube.get("deployment", "r1-green"))
    assert site.selected() == "r1", "starting pods get client traffic"
    server = site.pod("r1-green-b", "green")
    assert server is not None
    server.status = 500
    site.counts("r1-green", 1)
    eventually("the rollback", lambda: kube.condition("r1").get("reason") == "RolledBack", LOOKS)
    assert "of the new set failed a test request: " in kube.condition("r1")["message"]


def test_blue_green_deletes_the_old_set_after_its_delay(site: Site, kube: Kube) -> None:
    begun(site, BLUE_GREEN)
    eventually("the old set is gone", lambda: kube.get("deployment", "r1") is None, LOOKS)
    assert site.record()["stable"] == "green"


def test_a_set_that_never_serves_is_rolled_back(site: Site, kube: Kube) -> None:
    rules = {**CANARY, "progressDeadline": "10s"}
    site.apply("a", **rules)
    eventually("a record", lambda: site.record().get("revision"))
    site.settle("r1")
    site.apply("b", **rules)
    site.counts("r1-green", 1)
    site.pod("r1-green-b", "green", ready=False)
    eventually(
        "the rollback is reported",
        lambda: kube.condition("r1").get("reason") == "RolledBack",
        LOOKS,
    )
    assert "was not ready within 10 s" in kube.condition("r1")["message"]


def test_a_deleted_service_or_deployment_is_restored_during_a_rollout(
    site: Site, kube: Kube
) -> None:
    begun(site, CANARY)
    before = eventually("a candidate", lambda: site.record().get("candidate"), LOOKS)
    kube.run("delete", "service", "r1")
    eventually("the Service is back", lambda: kube.get("service", "r1"))
    assert site.record()["candidate"] == before
    assert site.record()["stable"] == "blue"
    kube.run("delete", "deployment", "r1")
    found = eventually("the stable set is back", lambda: kube.get("deployment", "r1"))
    notes = found["spec"]["template"]["metadata"]["annotations"]
    assert notes["note"] == "a", "it is restored from its revision, not from the newest spec"


def test_a_return_to_auto_keeps_the_serving_set_in_its_color(site: Site, kube: Kube) -> None:
    begun(site, BLUE_GREEN)
    eventually("the old set is gone", lambda: kube.get("deployment", "r1") is None, LOOKS)
    kube.run("delete", "pod", "r1-a", "--grace-period=0", "--force")
    before = kube.get("deployment", "r1-green")
    assert before is not None
    site.apply("b")
    site.settle("r1-green", noted=False)
    eventually("ready", lambda: kube.condition("r1").get("status") == "True", LOOKS)
    eventually("no revision is kept", lambda: not kube.all("controllerrevision"))
    after = kube.get("deployment", "r1-green")
    assert after is not None
    assert after["spec"] == before["spec"]
    assert kube.get("deployment", "r1") is None
    kube.run("delete", "service", "r1")
    eventually("the Service is back", lambda: kube.get("service", "r1"))
    assert kube.get("deployment", "r1-green") is not None, "it stays even without rollout state"
    site.apply("c")
    eventually("it gets the edit", lambda: "c" in json.dumps(kube.get("deployment", "r1-green")))


def test_the_autoscaler_targets_the_set_that_takes_the_requests(site: Site, kube: Kube) -> None:
    def scaled(name: str) -> tuple[str, int]:
        """Return the autoscaler's target, and the desired replicas of a Deployment."""
        scaler, found = kube.get("hpa", "r1"), kube.get("deployment", name)
        target = scaler["spec"]["scaleTargetRef"]["name"] if scaler else ""
        return target, found["spec"]["replicas"] if found else 0

    site.more = {"scaling": {"maxReplicas": 4}}
    site.apply("a", **CANARY)
    eventually("an autoscaler", lambda: scaled("r1") == ("r1", 1))
    kube.run("scale", "deployment", "r1", "--replicas=2")
    site.pod("r1-a2", "blue")
    site.settle("r1")
    site.counts("r1", 2)
    eventually("ready", lambda: kube.condition("r1").get("status") == "True")
    site.apply("b", **CANARY)
    eventually("a canary of one", lambda: scaled("r1-green") == ("r1", 1))
    assert scaled("r1") == ("r1", 2)
    revision = eventually("its name", lambda: site.rollout().get("revision"))
    site.apply("b", **CANARY, promote=revision)
    eventually("it takes over", lambda: scaled("r1-green") == ("r1", 2))
    for name in ("r1-green-b", "r1-green-c"):
        site.pod(name, "green")
    site.counts("r1-green", 2)
    eventually("promoted", lambda: kube.get("deployment", "r1") is None, LOOKS)
    eventually("it is autoscaled", lambda: scaled("r1-green")[0] == "r1-green")
    time.sleep(2)
    assert scaled("r1-green") == ("r1-green", 2), "the number of replicas jumps"


def test_a_taken_name_is_reported_while_the_stable_set_keeps_serving(
    site: Site, kube: Kube
) -> None:
    site.apply("a", **CANARY)
    eventually("a record", lambda: site.record().get("revision"))
    data = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "r1-green"}}
    kube.apply(data)
    site.apply("b", **CANARY)
    reported = eventually(
        "refused", lambda: (c := kube.condition("r1", "Accepted")).get("status") == "False" and c
    )
    assert reported["reason"] == "NameTaken"
    assert "A ConfigMap named r1-green" in reported["message"]
    assert site.selected() == "r1"
    assert kube.get("deployment", "r1") is not None
