"""The cache: owners of children, newest versions, deletions."""

from datetime import UTC, datetime
from typing import Any

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    NODE,
    POD,
    RESOURCE,
    SERVICE,
)
from deepseek_operator.plan.state.loading import Loading
from deepseek_operator.plan.traffic.pod_endpoints import SERVER_SCRAPE_TARGET
from tests.support.operator.resources import node, pod, resource

OWNER = Key("apps", "r1")


def child(body: dict[str, Any], version: int = 1, uid: str = "c-1") -> dict[str, Any]:
    labels = {"deepseek-operator.io/name": "r1"}
    metadata = {**body["metadata"], "labels": labels, "uid": uid, "resourceVersion": str(version)}
    return {**body, "metadata": metadata}


def test_a_change_of_a_child_affects_its_resource() -> None:
    cache = Cache()
    assert cache.put(RESOURCE, resource()) == {OWNER}
    assert cache.put(POD, child(pod())) == {OWNER}
    assert [view.name for view in cache.observe(OWNER).pods] == ["r1-a"]


def test_an_older_version_does_not_replace_a_newer() -> None:
    cache = Cache()
    cache.put(POD, child(pod(ready=True), version=9))
    assert cache.put(POD, child(pod(ready=False), version=8)) == set()
    assert cache.observe(OWNER).pods[0].ready


def test_a_late_deletion_does_not_remove_the_successor() -> None:
    cache = Cache()
    old, new = child(pod(), uid="old"), child(pod(), version=2, uid="new")
    cache.put(POD, new)
    assert cache.drop(POD, old) == set()
    assert cache.drop(POD, new) == {OWNER}
    assert cache.observe(OWNER).pods == ()


def test_a_full_list_removes_the_objects_that_it_lacks() -> None:
    cache = Cache()
    cache.put(POD, child(pod("r1-a")))
    cache.put(POD, child(pod("r1-b"), uid="c-2"))
    assert cache.replace(POD, [child(pod("r1-b"), uid="c-2")], version=5) == {OWNER}
    assert [view.name for view in cache.observe(OWNER).pods] == ["r1-b"]


def test_a_full_list_keeps_objects_created_while_it_was_read() -> None:
    cache = Cache()
    cache.put(POD, child(pod("r1-new"), version=7))
    cache.replace(POD, [], version=5)
    assert [view.name for view in cache.observe(OWNER).pods] == ["r1-new"]


def test_a_failed_mount_is_stored_once_and_for_known_pods_only() -> None:
    cache = Cache()
    cache.put(POD, child(pod(state={"waiting": {"reason": "ContainerCreating"}})))

    def event(name: str) -> dict[str, Any]:
        return {
            "involvedObject": {"namespace": "apps", "name": name},
            "message": "no such directory",
        }

    assert cache.put(EVENT, event("stranger")) == set()
    assert cache.put(EVENT, event("r1-a")) == {OWNER}
    assert cache.put(EVENT, event("r1-a")) == set()
    assert cache.observe(OWNER).pods[0].mount_failure == "no such directory"


def test_a_node_affects_resources_with_pods_that_wait_for_one() -> None:
    cache = Cache()
    small, large = node("a", 1), node("a", 8)
    small["metadata"] |= {"uid": "n", "resourceVersion": "1"}
    large["metadata"] |= {"uid": "n", "resourceVersion": "2"}
    assert cache.put(NODE, small) == set()
    cache.put(POD, child(pod(unschedulable="no GPU")))
    assert cache.put(NODE, large) == {OWNER}
    heartbeat = {**large, "metadata": {**large["metadata"], "resourceVersion": "3"}}
    assert cache.put(NODE, heartbeat) == set()
    cache.drop(POD, child(pod(unschedulable="no GPU")))
    assert cache.drop(NODE, large) == set(), "the waiting pod is gone"


def test_a_node_affects_refused_resources() -> None:
    cache = Cache()
    refused = {"conditions": [{"type": "Accepted", "status": "False", "reason": "DoesNotFit"}]}
    cache.put(RESOURCE, resource(refused))
    first = node("a", 8)
    first["metadata"] |= {"uid": "n", "resourceVersion": "1"}
    assert cache.put(NODE, first) == {OWNER}


def test_terminating_pods_are_not_observed() -> None:
    cache = Cache()
    leaving = child(pod())
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.put(POD, leaving)
    assert cache.observe(OWNER).pods == ()


def test_a_terminating_pod_is_no_replica_but_still_holds_its_node() -> None:
    cache = Cache()
    leaving, unplaced = child(pod("r1-a")), child(pod("r1-b", unschedulable="busy"), uid="c-2")
    for body in (leaving, unplaced):
        body["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
        cache.put(POD, body)
    observed = cache.observe(OWNER)
    assert observed.pods == ()
    assert observed.leaving == (datetime(2026, 1, 1, 0, 1, tzinfo=UTC),)


def test_load_progress_affects_its_resource_once_and_is_dropped_when_the_server_is_ready() -> None:
    cache = Cache()
    running = child(pod(state={"running": {}}))
    running["status"]["podIP"] = "10.0.0.1"
    cache.put(POD, running)
    assert cache.pods.loading() == [(Key("apps", "r1-a"), "10.0.0.1", SERVER_SCRAPE_TARGET, None)]
    half = Loading("Loading", 50)
    assert cache.pods.put_loading(Key("apps", "r1-a"), half) == {OWNER}
    assert cache.pods.put_loading(Key("apps", "r1-a"), half) == set()
    assert cache.observe(OWNER).pods[0].loading == half
    cache.put(POD, child(pod(ready=True, state={"running": {}}), version=2))
    assert cache.pods.loading() == []
    assert cache.pods.put_loading(Key("apps", "r1-a"), half) == set()


def test_fields_that_are_never_read_are_dropped() -> None:
    cache = Cache()
    deployment = child(
        {
            "metadata": {"name": "r1", "namespace": "apps"},
            "spec": {"replicas": 3, "big": "x" * 1000},
        }
    )
    deployment["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {}}
    ]
    cache.put(DEPLOYMENT, deployment)
    cached = cache.get(DEPLOYMENT, OWNER)
    assert cached is not None
    assert cached["spec"] == {"replicas": 3}
    assert [entry["manager"] for entry in cached["metadata"]["managedFields"]] == [
        "deepseek-operator"
    ]


def test_children_are_found_by_label_not_by_name() -> None:
    cache = Cache()
    cache.put(RESOURCE, resource())
    cache.put(POD, child(pod()))
    config = child({"metadata": {"name": "r1-old", "namespace": "apps"}})
    service = child({"metadata": {"name": "r1", "namespace": "apps"}})
    cache.put(CONFIG_MAP, config)
    cache.put(SERVICE, service)

    def names() -> set[tuple[str, str]]:
        return {(kind.name, body["metadata"]["name"]) for kind, body in cache.children(OWNER)}

    assert names() == {("ConfigMap", "r1-old"), ("Service", "r1")}
    cache.drop(CONFIG_MAP, config)
    assert names() == {("Service", "r1")}
    cache.drop(SERVICE, service)
    assert cache.children(OWNER) == []
    assert [view.name for view in cache.observe(OWNER).pods] == ["r1-a"]


def test_a_new_measurement_of_an_autoscaler_affects_no_resource() -> None:
    cache = Cache()

    def autoscaler(version: int, active: str, measured: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "metadata": {"name": "r1", "namespace": "apps"},
            "status": {
                "currentReplicas": measured,
                "conditions": [
                    {"type": "AbleToScale", "status": "True", "message": f"measured {measured}"},
                    {"type": "ScalingActive", "status": active, "reason": "Why", "message": "m"},
                ],
            },
        }
        return child(body, version)

    assert cache.put(AUTOSCALER, autoscaler(1, "False", 1)) == {OWNER}
    assert cache.put(AUTOSCALER, autoscaler(2, "False", 2)) == set()
    assert cache.put(AUTOSCALER, autoscaler(3, "True", 2)) == {OWNER}
    seen = cache.observe(OWNER).autoscaler
    assert seen is not None
    assert seen.active
    newest = cache.get(AUTOSCALER, OWNER)
    assert newest is not None
    assert newest["metadata"]["resourceVersion"] == "3"


def test_another_custom_metrics_server_affects_autoscaled_resources() -> None:
    cache = Cache()
    cache.put(RESOURCE, resource())
    assert cache.metrics_served_by("monitoring/adapter") == set()
    scaled = resource(scaling={"maxReplicas": 2})
    scaled["metadata"]["resourceVersion"] = "1000"
    cache.put(RESOURCE, scaled)
    assert cache.metrics_served_by("") == {OWNER}
    assert cache.metrics_served_by("") == set()
    assert cache.metrics_served_by("monitoring/adapter") == {OWNER}
    assert cache.observe(OWNER).metrics_served_by == "monitoring/adapter"


def test_a_cached_child_has_its_owner_and_the_managed_fields_of_the_operator() -> None:
    cache = Cache()
    body = child({"metadata": {"name": "r1", "namespace": "apps"}})
    body["metadata"] |= {
        "annotations": {"deepseek-operator.io/manifest-hash": "h"},
        "ownerReferences": [{"uid": "u-1", "kind": "DeepSeekDeployment", "controller": True}],
        "managedFields": [
            {
                "manager": "deepseek-operator",
                "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:ownerReferences": {'k:{"uid":"u-1"}': {}}}},
            }
        ],
    }
    cache.put(CONFIG_MAP, body)
    cached = cache.get(CONFIG_MAP, OWNER)
    assert cached is not None
    for field in ("annotations", "ownerReferences", "managedFields", "uid", "resourceVersion"):
        assert cached["metadata"][field] == body["metadata"][field]


def test_managed_fields_are_stored_once_for_all_children_of_a_kind() -> None:
    cache = Cache()
    for number in range(3):
        name, uid = f"r{number}", f"owner-{number}"
        body = child({"metadata": {"name": name, "namespace": "apps"}}, uid=f"c-{number}")
        record = {"f:metadata": {"f:ownerReferences": {f'k:{{"uid":"{uid}"}}': {}}}}
        body["metadata"] |= {
            "labels": {"deepseek-operator.io/name": name},
            "ownerReferences": [{"uid": uid, "controller": True}],
            "managedFields": [
                {"manager": "deepseek-operator", "operation": "Apply", "fieldsV1": record}
            ],
        }
        cache.put(CONFIG_MAP, body)
    fingerprints = [cache.fingerprints(Key("apps", f"r{number}"))[1] for number in range(3)]
    assert len({id(fingerprint.owned) for fingerprint in fingerprints if fingerprint}) == 1
    assert len({fingerprint.controller for fingerprint in fingerprints if fingerprint}) == 3


def test_a_new_version_without_a_relevant_change_affects_no_resource() -> None:
    cache = Cache()
    config = {"metadata": {"name": "r1", "namespace": "apps"}, "data": {"a": "1"}}
    assert cache.put(CONFIG_MAP, child(config)) == {OWNER}
    other = {**config, "data": {"a": "2"}}
    assert cache.put(CONFIG_MAP, child(other, version=2)) == set()
    assert cache.version(CONFIG_MAP, OWNER) == 2
    assert cache.put(POD, child(pod(ready=False))) == {OWNER}
    assert cache.put(POD, child(pod(ready=False), version=2)) == set()
    assert cache.put(POD, child(pod(ready=True), version=3)) == {OWNER}


def test_a_known_version_affects_no_resource() -> None:
    """kopf lists what has just been listed, and every write of the operator returns as an event."""
    cache = Cache()
    assert cache.put(RESOURCE, resource()) == {OWNER}
    assert cache.put(RESOURCE, resource(replicas=5)) == set()


def test_the_response_to_a_write_does_not_restore_a_deleted_object() -> None:
    """The DELETED event can arrive before the response; the child was then missing for good."""
    cache = Cache()
    written = child({"metadata": {"name": "r1", "namespace": "apps"}}, version=5)
    cache.put(CONFIG_MAP, written)
    cache.drop(CONFIG_MAP, written)
    cache.put_written(CONFIG_MAP, written)
    assert cache.get(CONFIG_MAP, OWNER) is None
    again = child({"metadata": {"name": "r1", "namespace": "apps"}}, version=7, uid="c-2")
    cache.put_written(CONFIG_MAP, again)
    assert cache.version(CONFIG_MAP, OWNER) == 7
