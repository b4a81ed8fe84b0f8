"""The reconcile loop against a store that responds like the API server."""

import copy
from typing import Any

import pytest

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.errors import NamespaceEndingError, UnreachableError
from deepseek_operator.cluster.kinds import CONFIG_MAP, DEPLOYMENT, POD, RESOURCE, Kind
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.render.reuse import Renderer
from tests.support.operator.resources import SETTINGS, pod, resource
from tests.unit.operator.cluster.test_cache import child

Object = dict[str, Any]

KEY = Key("apps", "r1")


class Store:
    """Stores what is applied; raises the exception in `fails` for its kind instead."""

    def __init__(self) -> None:
        self.version = 100
        self.applied: list[str] = []
        self.asked = 0
        self.fails: dict[Kind, Exception] = {}
        self.generation = 1

    async def get_cached(self, *_: Any) -> Object | None:
        self.asked += 1
        return None

    async def apply(self, kind: Kind, manifest: Object, subresource: str = "") -> Object:
        self.applied.append(kind.name)
        if kind in self.fails:
            raise self.fails[kind]
        self.version += 1
        result = copy.deepcopy(manifest)
        owned = {f"f:{part}": {} for part in manifest}
        result["metadata"] |= {
            "uid": result["metadata"].get("uid", f"uid-{self.version}"),
            "resourceVersion": str(self.version),
            "generation": self.generation,
            "managedFields": [
                {"manager": "deepseek-operator", "operation": "Apply", "fieldsV1": owned}
            ],
        }
        if kind is DEPLOYMENT:
            result["status"] = {"observedGeneration": self.generation}
        if kind is RESOURCE:
            result["spec"] = resource()["spec"]
        return result

    async def post_event(self, _: Object) -> None:
        self.applied.append("Event")


class Bench:
    """A reconciler with its cache and its store."""

    def __init__(self) -> None:
        self.store = Store()
        self.cache = Cache()
        self.requeued: list[Key] = []
        client: Any = self.store
        self.reconciler = Reconciler(client, self.cache, SETTINGS, self.requeued.append, Hub())
        self.cache.put(RESOURCE, resource())

    async def reconcile(self) -> list[str]:
        """Run one pass and return the kinds that it writes."""
        self.store.applied = []
        await self.reconciler.reconcile(KEY)
        return self.store.applied


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that manifests are rendered."""
    calls: list[str] = []
    original = Renderer.children

    def counted(renderer: Renderer, desired: DesiredState) -> Any:
        calls.append(desired.resource.name)
        return original(renderer, desired)

    monkeypatch.setattr(Renderer, "children", counted)
    return calls


async def test_the_children_that_pods_need_are_applied_before_the_deployment() -> None:
    written = await Bench().reconcile()
    before = {"ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    assert before <= set(written[: written.index("Deployment")])
    assert written[-2:] == ["DeepSeekDeployment", "Event"]


async def test_nothing_is_rendered_or_written_without_a_change(
    rendered: list[str],
) -> None:
    bench = Bench()
    await bench.reconcile()
    rendered.clear()
    assert await bench.reconcile() == []
    assert rendered == []


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        ({"observedGeneration": 0}, False),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1}, False),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}, True),
    ],
    ids=["not seen yet", "old pods are left", "a pod has no node"],
)
async def test_every_pass_reconsiders_the_step_of_a_rollout_in_progress(
    rendered: list[str], status: Object, waits: bool
) -> None:
    """A step can be due without a changed object: a new pod may have waited too long for a node."""
    bench = Bench()
    await bench.reconcile()
    deployment = bench.cache.get(DEPLOYMENT, KEY)
    assert deployment is not None
    deployment["metadata"] |= {
        "resourceVersion": "999",
        "labels": child({"metadata": {}})["metadata"]["labels"],
    }
    bench.cache.put(DEPLOYMENT, {**deployment, "status": status})
    if waits:
        bench.cache.put(POD, child(pod(unschedulable="no GPU")))
    for _ in range(2):
        rendered.clear()
        await bench.reconcile()
        assert rendered == ["r1"]


async def test_a_lost_or_changed_child_is_applied_again(rendered: list[str]) -> None:
    bench = Bench()
    await bench.reconcile()
    known = bench.cache.get(CONFIG_MAP, KEY)
    assert known is not None
    bench.cache.drop(CONFIG_MAP, known)
    assert await bench.reconcile() == ["ConfigMap"]
    known = bench.cache.get(CONFIG_MAP, KEY)
    assert known is not None
    known["metadata"] |= {"resourceVersion": "999", "managedFields": []}
    known["metadata"]["labels"] = {"deepseek-operator.io/name": "r1"}
    bench.cache.put(CONFIG_MAP, known)
    assert await bench.reconcile() == ["ConfigMap"]


async def test_an_edit_seen_in_the_response_to_a_status_write_queues_the_resource() -> None:
    """The response to the write fills the cache, so the edit's own event queues nothing."""
    bench = Bench()
    bench.store.generation = 2
    await bench.reconcile()
    assert bench.requeued == [KEY]


async def test_no_status_is_written_in_a_namespace_that_is_being_deleted() -> None:
    bench = Bench()
    bench.store.fails[CONFIG_MAP] = NamespaceEndingError("it is being terminated")
    with pytest.raises(NamespaceEndingError):
        await bench.reconcile()
    assert "DeepSeekDeployment" not in bench.store.applied


async def test_the_deployment_waits_for_a_child_that_can_not_be_written() -> None:
    bench = Bench()
    bench.store.fails[CONFIG_MAP] = UnreachableError("overloaded")
    with pytest.raises(UnreachableError):
        await bench.reconcile()
    assert "Deployment" not in bench.store.applied
    bench.store.fails.clear()
    assert {"ConfigMap", "Deployment"} <= set(await bench.reconcile())
