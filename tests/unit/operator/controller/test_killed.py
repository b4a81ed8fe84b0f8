"""The reconcile loop, killed after every single write of a rollout between two sets of pods."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import pytest

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key, key_of
from deepseek_operator.cluster.kinds import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD,
    RESOURCE,
    SERVICE,
    Kind,
)
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.controller.rollouts import evidence
from deepseek_operator.controller.rollouts.counts import Counts
from deepseek_operator.plan.progressive.samples import Sample
from deepseek_operator.plan.state.observed import PodView
from deepseek_operator.plan.traffic.pod_endpoints import ScrapeTarget
from tests.support.operator.resources import R1, SETTINGS

Object = dict[str, Any]

KEY = Key("apps", "r1")
LONG_AGO = "2026-01-01T00:00:00Z"
CANARY = {
    "strategy": "canary",
    "canary": {
        "steps": [{"weight": 40, "pause": "0s"}, {"weight": 80, "pause": "0s"}],
        "analysis": {"minRequests": 50},
    },
}
BLUE_GREEN = {"strategy": "blueGreen", "blueGreen": {"keepOld": "0s"}}


class KilledError(Exception):
    """The operator was killed."""


class Cluster:
    """An API server, and controllers that turn Deployments into ready pods at once.

    Attributes:
        writes: Number of writes so far.
        kill: Whether the operator is killed right after each write.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, Key], Object] = {}
        self.version = self.writes = 0
        self.kill = False
        self.deployed: set[str] = set()

    def put(self, kind: Kind, body: Object) -> Object:
        self.version += 1
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"uid-{self.version}")
        self.objects[kind, key_of(body)] = body
        return body

    async def get_cached(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self.objects.get((kind, Key(namespace, name)))

    get = get_cached

    async def apply(
        self, kind: Kind, manifest: Object, subresource: str = "", manager: str = ""
    ) -> Object:
        body = copy.deepcopy(manifest)
        before = self.objects.get((kind, key_of(body)), {})
        if kind is RESOURCE:
            return self.put(kind, {**before, "status": body["status"]})
        owned = {f"f:{part}": {} for part in manifest}
        body["metadata"]["managedFields"] = [
            {"manager": "deepseek-operator", "operation": "Apply", "fieldsV1": owned}
        ]
        if uid := before.get("metadata", {}).get("uid"):
            body["metadata"]["uid"] = uid
        if kind is DEPLOYMENT:
            body["metadata"]["generation"] = self.version
            body["status"] = before.get("status", {})
        result = copy.deepcopy(self.put(kind, body))
        self._written()
        return result

    async def delete(self, kind: Kind, live: Object) -> None:
        self.objects.pop((kind, key_of(live)), None)
        self._written()

    async def post_event(self, _: Object) -> None:
        pass

    def _written(self) -> None:
        self.writes += 1
        self.check()
        if self.kill:
            raise KilledError

    def all(self, kind: Kind) -> list[Object]:
        return [body for (found, _), body in self.objects.items() if found is kind]

    def controllers(self) -> None:
        """Create and delete pods as the Deployments specify; all of them are ready."""
        wanted = {}
        for deployment in self.all(DEPLOYMENT):
            name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
            number = deployment["spec"]["replicas"]
            note = template["metadata"]["annotations"]["note"]
            for place in range(number):
                wanted[f"{name}-{note}-{place}"] = template["metadata"]["labels"]
            status = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": number,
                "updatedReplicas": number,
            }
            if deployment["status"] != status:
                self.put(DEPLOYMENT, {**deployment, "status": status})
        for pod in self.all(POD):
            if pod["metadata"]["name"] not in wanted:
                del self.objects[POD, key_of(pod)]
        for name, labels in wanted.items():
            if (POD, Key("apps", name)) not in self.objects:
                conditions = [
                    {"type": kind, "status": "True", "lastTransitionTime": LONG_AGO}
                    for kind in ("PodScheduled", "Ready")
                ]
                metadata = {"name": name, "namespace": "apps", "labels": labels}
                status = {"podIP": name, "conditions": conditions}
                self.put(POD, {"metadata": metadata, "status": status})

    def served_by(self) -> set[str]:
        """Return the notes of the pods that the clients' Service selects."""
        service = self.objects.get((SERVICE, KEY))
        chosen = service["spec"]["selector"].items() if service else ()
        names = [
            pod["metadata"]["name"]
            for pod in self.all(POD)
            if chosen and chosen <= pod["metadata"]["labels"].items()
        ]
        return {name.rsplit("-", 2)[1] for name in names}

    def check(self) -> None:
        """Check the invariants of every write: pods serve, and their revisions are stored."""
        if not self.deployed:
            return
        assert self.served_by(), "no pod serves"
        record = json.loads(
            self.objects[SERVICE, KEY]["metadata"]["annotations"]["deepseek-operator.io/rollout"]
        )
        for name in filter(None, (record["revision"], record.get("candidate"))):
            assert (CONTROLLER_REVISION, Key("apps", f"r1-{name}")) in self.objects
        place = "r1" if record["stable"] == "blue" else "r1-green"
        assert (DEPLOYMENT, Key("apps", place)) in self.objects


class Run:
    """Operators that run one after the other on one cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = Cluster()
        self.bad: set[str] = set()
        self.counted = 0.0
        self.killed = 0
        monkeypatch.setattr(evidence, "counts", self.counts)
        monkeypatch.setattr(
            "deepseek_operator.controller.rollouts.trials.Trials.result", lambda *_: (True, "")
        )

    async def counts(self, pods: Iterable[tuple[PodView, str, ScrapeTarget]], _: str) -> Counts:
        """Return metrics that grow by a hundred requests between two passes."""
        self.counted += 100
        found = {}
        for pod, *_ in pods:
            note = pod.name.rsplit("-", 2)[1]
            found[pod.name] = Sample(self.counted, self.counted / 2 if note in self.bad else 0.0)
        return Counts(found)

    def edit(self, note: str, rollout: Object, replicas: int = 3) -> None:
        before = self.cluster.objects.get((RESOURCE, KEY), {})
        generation = before.get("metadata", {}).get("generation", 0) + 1
        metadata = {"name": "r1", "namespace": "apps", "uid": "u-1", "generation": generation}
        spec = {
            "model": {"id": R1},
            "replicas": replicas,
            "podTemplate": {"metadata": {"annotations": {"note": note}}},
            "rollout": rollout,
        }
        status = before.get("status", {})
        self.cluster.put(RESOURCE, {"metadata": metadata, "spec": spec, "status": status})

    def started(self) -> Reconciler:
        """Return an operator that knows only the objects in the cluster."""
        cache = Cache()
        for (kind, _), body in self.cluster.objects.items():
            cache.put(kind, copy.deepcopy(body))
        client: Any = self.cluster
        return Reconciler(client, cache, SETTINGS, lambda _: None, Hub())

    async def until_rest(self) -> None:
        """Reconcile until nothing is written any more."""
        quiet = 0
        for _ in range(300):
            self.cluster.controllers()
            before = self.cluster.version
            await self.look()
            quiet = quiet + 1 if self.cluster.version == before else 0
            if quiet == 5:  # the servers' metrics grow meanwhile
                return
        raise AssertionError("the operator never stops writing")

    async def look(self, times: int = 1) -> None:
        """Run so many operators, each of which ends at its first write at the latest."""
        for _ in range(times):
            self.cluster.controllers()
            try:
                await self.started().reconcile(KEY)
            except KilledError:
                self.killed += 1

    @property
    def phase(self) -> str:
        return str(self.cluster.objects[RESOURCE, KEY]["status"]["phase"])

    @property
    def deployments(self) -> set[str]:
        return {body["metadata"]["name"] for body in self.cluster.all(DEPLOYMENT)}


@pytest.fixture
async def run(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Run:
    """Three serving replicas of note `a`; from now on each write kills the operator."""
    found = Run(monkeypatch)
    found.edit("a", request.param)
    await found.until_rest()
    assert "3 of 3" in found.phase
    found.cluster.kill = True
    found.cluster.deployed.add("a")
    return found


both = pytest.mark.parametrize("run", [CANARY, BLUE_GREEN], indirect=True)


@both
async def test_a_rollout_completes(run: Run, request: pytest.FixtureRequest) -> None:
    rollout = request.node.callspec.params["run"]
    run.edit("b", rollout)
    await run.until_rest()
    assert run.killed > 8
    assert run.deployments == {"r1-green"}
    assert run.cluster.served_by() == {"b"}
    assert len(run.cluster.all(CONTROLLER_REVISION)) == 1
    assert run.phase == "Ready: 3 of 3 replicas serve"
    run.edit("c", rollout)
    await run.until_rest()
    assert run.deployments == {"r1"}
    assert run.cluster.served_by() == {"c"}


@pytest.mark.parametrize("run", [CANARY], indirect=True)
async def test_a_bad_rollout_is_rolled_back(run: Run) -> None:
    run.bad = {"b"}
    run.edit("b", CANARY)
    await run.until_rest()
    assert run.deployments == {"r1"}
    assert run.cluster.served_by() == {"a"}
    assert "Rolled back: Failed requests" in run.phase
    run.edit("c", CANARY)
    await run.until_rest()
    assert run.cluster.served_by() == {"c"}


@pytest.mark.parametrize("run", [BLUE_GREEN], indirect=True)
async def test_edit_after_the_switch_promotes_the_serving_set(run: Run) -> None:
    keeps = {"strategy": "blueGreen", "blueGreen": {"keepOld": "9h"}}
    run.edit("b", keeps)
    await run.until_rest()
    assert run.deployments == {"r1", "r1-green"}
    assert run.cluster.served_by() == {"b"}
    run.edit("c", keeps)
    await run.until_rest()
    assert run.cluster.served_by() == {"c"}
    notes = {
        body["metadata"]["name"]: body["spec"]["template"]["metadata"]["annotations"]["note"]
        for body in run.cluster.all(DEPLOYMENT)
    }
    assert notes == {"r1": "c", "r1-green": "b"}


@pytest.mark.parametrize("run", [CANARY], indirect=True)
async def test_a_canary_is_rolled_back_even_while_a_later_spec_is_refused(run: Run) -> None:
    held = {**CANARY, "hold": True}
    run.edit("b", held)
    await run.look(60)
    assert run.cluster.served_by() == {"a", "b"}
    run.edit("c", held)
    run.cluster.objects[RESOURCE, KEY]["spec"]["model"] = {"id": "deepseek-ai/DeepSeek-V1.5"}
    await run.look(60)
    assert run.cluster.served_by() == {"a", "b"}
    assert "Rejected" in run.phase
    run.bad = {"b"}
    await run.look(60)
    assert run.cluster.served_by() == {"a"}
    assert "Rejected" in run.phase


@both
async def test_the_strategy_can_return_to_auto_after_a_rollout(
    run: Run, request: pytest.FixtureRequest
) -> None:
    run.edit("b", request.node.callspec.params["run"])
    await run.until_rest()
    run.cluster.deployed.clear()
    run.edit("b", {})
    await run.until_rest()
    assert run.deployments == {"r1-green"}
    assert not run.cluster.all(CONTROLLER_REVISION)
    run.edit("c", {})
    await run.until_rest()
    assert run.deployments == {"r1-green"}
    assert run.cluster.served_by() == {"c"}
