"""Requests of a dry run: every write has dryRun set."""

from typing import Any

import pytest

from deepseek_operator.cli.live.difference import listed, unified
from deepseek_operator.cli.live.dry_run import (
    Change,
    DryRunClient,
    KnownConfig,
    filled_cache,
    plain,
)
from deepseek_operator.cluster import handover
from deepseek_operator.cluster.cached_object import key_of
from deepseek_operator.cluster.errors import ForbiddenError
from deepseek_operator.cluster.kinds import AUTOSCALER, DEPLOYMENT, POD, RESOURCE, SERVICE, Kind
from deepseek_operator.plan.state.labels import BLUE, labels
from deepseek_operator.plan.state.observed import ConfigFile
from tests.support.operator.resources import NOW, pod, resource
from tests.unit.operator.cluster.test_client import Response, client

Object = dict[str, Any]


def live(kind: str = "Service", **spec: Any) -> Object:
    metadata = {"name": "r1", "namespace": "apps", "uid": "u", "resourceVersion": "5"}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def is_dry(request: Object) -> bool:
    if request["method"] == "DELETE":  # the API server ignores the query if there is a body
        return bool(request["body"].get("dryRun") == ["All"])
    return bool((request["query"] or {}).get("dryRun") == "All")


async def test_every_write_is_a_dry_run() -> None:
    api, asking = client(
        *(Response(live()) for _ in range(7)),
    )
    dry_run_client = DryRunClient(asking)
    await dry_run_client.apply(SERVICE, live())
    await dry_run_client.create(SERVICE, live())
    await dry_run_client.replace(SERVICE, live())
    await dry_run_client.delete(SERVICE, live())
    assert dry_run_client.fenced(lambda: 1.0) is dry_run_client
    writes = [request for request in api.asked if request["method"] != "GET"]
    assert [request["method"] for request in writes] == ["PATCH", "POST", "PUT", "DELETE"]
    assert all(is_dry(request) for request in writes)


async def test_events_and_status_are_not_sent() -> None:
    api, asking = client()
    dry_run_client = DryRunClient(asking)
    await dry_run_client.post_event({})
    written_status = {"phase": "Starting"}
    await dry_run_client.apply(
        RESOURCE, {**live(RESOURCE.name), "status": written_status}, "status"
    )
    assert (dry_run_client.written_status, api.asked) == (written_status, [])


class Pods:
    """A cluster with one ready pod."""

    async def select(self, kind: Kind, *_: Any, **__: Any) -> list[Object]:
        if kind is not POD:
            return []
        found = pod(ready=True, state={"running": {"startedAt": NOW}})
        found["metadata"] |= {"uid": "u-2", "resourceVersion": "3", "labels": labels("r1")}
        found["status"]["podIP"] = "10.0.0.1"
        return [found]

    async def list(self, _: Kind) -> tuple[tuple[()], int]:
        return (), 1


async def test_no_requests_to_model_servers() -> None:
    """Neither metrics nor smoke requests, which the operator sends during a rollout."""
    pods: Any = Pods()
    cache = await filled_cache(pods, resource(), frozenset())
    key = key_of(resource())
    assert [view.ready for view in cache.pods.staying(key)] == [True]
    assert cache.pods.serving(key, BLUE) == []


async def test_handed_over_replicas_are_kept() -> None:
    _, asking = client(
        Response(live(replicas=3)),
        Response(live(replicas=3)),
        Response(live(replicas=3)),
        Response(live(replicas=1)),
    )
    dry_run_client = DryRunClient(asking)
    await dry_run_client.apply(DEPLOYMENT, live(replicas=3), manager=handover.MANAGER)
    await dry_run_client.apply(DEPLOYMENT, live())
    (change,) = dry_run_client.changes
    assert change.after is not None
    assert change.after["spec"]["replicas"] == 3


async def test_a_forbidden_write_is_recorded() -> None:
    refused = {"message": "you may not", "code": 403}
    _, asking = client(Response(live()), Response(refused, 403))
    dry_run_client = DryRunClient(asking)
    with pytest.raises(ForbiddenError):
        await dry_run_client.apply(SERVICE, live())
    assert dry_run_client.forbidden is not None


@pytest.mark.parametrize("content", [None, {"model_type": "qwen2"}])
async def test_no_requests_to_a_hub(content: Object | None) -> None:
    found = await KnownConfig(content, "offline").read(ConfigFile("", "a/b", "main"))
    assert (found.content, found.problem) == (content, "" if content else "offline")


def test_server_set_metadata_is_no_difference() -> None:
    later = live(a=1)
    later["metadata"] |= {"resourceVersion": "6", "managedFields": [], "generation": 2}
    later["status"] = {"b": 1}
    assert plain(later) == plain(live(a=1))
    assert plain(live(a=2)) != plain(live(a=1))


def test_differences_as_text_and_as_data() -> None:
    change = Change("Service", "r1", live(a=1), live(a=2))
    text = unified(change)
    assert text.startswith("--- live/Service/r1\n+++ planned/Service/r1\n")
    assert "-  a: 1\n+  a: 2\n" in text
    gone, made = (
        Change(AUTOSCALER.name, "r1", live(), None),
        Change("Service", "r1", None, live()),
    )
    assert unified(gone).startswith("--- live/HorizontalPodAutoscaler/r1\n+++ /dev/null\n")
    rows = listed([change, gone, made])["changes"]
    assert [row["change"] for row in rows] == ["update", "delete", "create"]
    assert listed([]) == {"different": False, "changes": []}
