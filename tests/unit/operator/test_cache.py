"""The cache: whose children they are, which version is newest, what is gone."""

from typing import Any

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, NODE, POD, RESOURCE
from tests.unit.operator.resources import node, pod, resource

OWNER = Key("apps", "r1")


def child(body: dict[str, Any], version: int = 1, uid: str = "c-1") -> dict[str, Any]:
    labels = {"deepseek-operator.io/name": "r1"}
    metadata = {**body["metadata"], "labels": labels, "uid": uid, "resourceVersion": str(version)}
    return {**body, "metadata": metadata}


def test_children_concern_their_resource() -> None:
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


def test_a_list_removes_what_it_lacks() -> None:
    cache = Cache()
    cache.put(POD, child(pod("r1-a")))
    cache.put(POD, child(pod("r1-b"), uid="c-2"))
    assert cache.replace(POD, [child(pod("r1-b"), uid="c-2")], version=5) == {OWNER}
    assert [view.name for view in cache.observe(OWNER).pods] == ["r1-b"]


def test_a_list_does_not_remove_what_was_made_while_it_was_read() -> None:
    cache = Cache()
    cache.put(POD, child(pod("r1-new"), version=7))
    cache.replace(POD, [], version=5)
    assert [view.name for view in cache.observe(OWNER).pods] == ["r1-new"]


def test_a_failed_mount_is_told_of_our_pods_only_and_once() -> None:
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


def test_nodes_concern_resources_that_wait_for_one() -> None:
    cache = Cache()
    small, large = node("a", 1), node("a", 8)
    small["metadata"] |= {"uid": "n", "resourceVersion": "1"}
    large["metadata"] |= {"uid": "n", "resourceVersion": "2"}
    assert cache.put(NODE, small) == set()
    cache.put(POD, child(pod(unschedulable="no GPU")))
    assert cache.put(NODE, large) == {OWNER}
    heartbeat = {**large, "metadata": {**large["metadata"], "resourceVersion": "3"}}
    assert cache.put(NODE, heartbeat) == set()


def test_pods_that_are_being_deleted_are_not_judged() -> None:
    cache = Cache()
    leaving = child(pod())
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.put(POD, leaving)
    assert cache.observe(OWNER).pods == ()


def test_what_is_not_read_is_not_kept() -> None:
    cache = Cache()
    deployment = child(
        {"metadata": {"name": "r1", "namespace": "apps"}, "spec": {"big": "x" * 1000}}
    )
    deployment["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {}}
    ]
    cache.put(DEPLOYMENT, deployment)
    kept = cache.get(DEPLOYMENT, OWNER)
    assert kept is not None
    assert "spec" not in kept
    assert [entry["manager"] for entry in kept["metadata"]["managedFields"]] == [
        "deepseek-operator"
    ]


def test_a_child_is_given_back_with_its_owner_and_the_fields_that_we_own() -> None:
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
    kept = cache.get(CONFIG_MAP, OWNER)
    assert kept is not None
    for field in ("annotations", "ownerReferences", "managedFields", "uid", "resourceVersion"):
        assert kept["metadata"][field] == body["metadata"][field]


def test_the_record_of_owned_fields_is_kept_once_for_all_children_of_a_kind() -> None:
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
    marks = [cache.marks(Key("apps", f"r{number}"))[1] for number in range(3)]
    assert len({id(mark.owned) for mark in marks if mark}) == 1
    assert len({mark.controller for mark in marks if mark}) == 3


def test_a_new_version_in_which_nothing_that_is_read_differs_concerns_nobody() -> None:
    cache = Cache()
    config = {"metadata": {"name": "r1", "namespace": "apps"}, "data": {"a": "1"}}
    assert cache.put(CONFIG_MAP, child(config)) == {OWNER}
    other = {**config, "data": {"a": "2"}}
    assert cache.put(CONFIG_MAP, child(other, version=2)) == set()
    assert cache.version(CONFIG_MAP, OWNER) == 2
    assert cache.put(POD, child(pod(ready=False))) == {OWNER}
    assert cache.put(POD, child(pod(ready=False), version=2)) == set()
    assert cache.put(POD, child(pod(ready=True), version=3)) == {OWNER}


def test_the_same_version_twice_concerns_nobody() -> None:
    """kopf lists what has just been read, and every write of ours comes back as an event."""
    cache = Cache()
    assert cache.put(RESOURCE, resource()) == {OWNER}
    assert cache.put(RESOURCE, resource(replicas=5)) == set()


def test_the_answer_to_a_write_does_not_bring_back_what_the_stream_knows_to_be_gone() -> None:
    """Deleted at once, the events can be here before the answer is; the child was missing for good."""
    cache = Cache()
    written = child({"metadata": {"name": "r1", "namespace": "apps"}}, version=5)
    cache.put(CONFIG_MAP, written)
    cache.drop(CONFIG_MAP, written)
    cache.put_written(CONFIG_MAP, written)
    assert cache.get(CONFIG_MAP, OWNER) is None
    again = child({"metadata": {"name": "r1", "namespace": "apps"}}, version=7, uid="c-2")
    cache.put_written(CONFIG_MAP, again)
    assert cache.version(CONFIG_MAP, OWNER) == 7
