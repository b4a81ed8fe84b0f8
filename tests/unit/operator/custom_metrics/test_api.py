"""Tests of the custom metrics API by request; tests/integration calls it through an API server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from deepseek_operator.cluster.errors import RejectedError, UnreachableError
from deepseek_operator.cluster.kinds import ACCESS_REVIEW, POD
from deepseek_operator.custom_metrics.access import Access
from deepseek_operator.custom_metrics.api import GROUP, ROOT, Api
from deepseek_operator.custom_metrics.front_proxy import FrontProxy, User
from deepseek_operator.custom_metrics.load import Load
from deepseek_operator.plan.traffic import pod_endpoints as asking
from tests.unit.operator.custom_metrics.asking import METRICS, front_proxy, peer


class Cluster:
    """Fake API server with the calls that the API makes."""

    def __init__(self, ready: int = 1) -> None:
        self.ready = ready
        self.allowed_in = {"", "apps"}
        self.reviews: list[dict[str, Any]] = []
        self.selected: list[tuple[str, str, str]] = []
        self.failure: Exception | None = None

    async def create(self, kind: Any, manifest: dict[str, Any]) -> dict[str, Any]:
        assert kind is ACCESS_REVIEW
        self.reviews.append(manifest["spec"])
        namespace = manifest["spec"].get("resourceAttributes", {}).get("namespace", "")
        return {"status": {"allowed": namespace in self.allowed_in}}

    async def select(
        self, kind: Any, namespace: str, labels: str, name: str
    ) -> list[dict[str, Any]]:
        assert kind is POD
        self.selected.append((namespace, labels, name))
        if self.failure:
            raise self.failure

        def pod(number: int, ready: str) -> dict[str, Any]:
            conditions = [{"type": "Ready", "status": ready}]
            status = {"podIP": f"127.0.0.{number}", "conditions": conditions}
            return {"metadata": {"name": f"r1-{number}"}, "status": status}

        return [pod(n + 1, "True") for n in range(self.ready)] + [pod(99, "False")]


class Setup:
    """The API with a fake API server and fake pods."""

    def __init__(self, client: TestClient[Any, Any], cluster: Cluster, scrapes: Counter[str]):
        self._client = client
        self.cluster = cluster
        self.scrapes = scrapes
        self.text = METRICS

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        answer = await self._client.get(path, headers={"X-Remote-User": "hpa", **headers})
        return answer.status, await answer.json()


@pytest.fixture
async def setup(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    cluster, scrapes = Cluster(), Counter[str]()

    async def metrics(request: web.Request) -> web.Response:
        scrapes[request.host] += 1
        if not made.text:
            return web.Response(status=500)
        return web.Response(text=made.text)

    pods = web.Application()
    pods.router.add_get("/metrics", metrics)
    async with TestServer(pods, host="0.0.0.0") as server:
        here = replace(asking.SERVER_SCRAPE_TARGET, port=server.port)
        monkeypatch.setattr(asking, "SERVER_SCRAPE_TARGET", here)

        class KnownProxy(FrontProxy):
            """Every client has the certificate; integration tests cover TLS."""

            def user(self, _certificate: Any, headers: Any) -> User:
                return front_proxy().user(peer("front-proxy"), headers)

        async with aiohttp.ClientSession() as session:
            api = Api(
                KnownProxy("", frozenset(), (), (), (), ()),
                Access(cluster, GROUP),  # type: ignore[arg-type]
                Load(cluster, session),  # type: ignore[arg-type]
            )
            async with TestClient(TestServer(api.application())) as client:
                made = Setup(client, cluster, scrapes)
                yield made


PODS = f"{ROOT}/namespaces/apps/pods"


async def test_requests_are_the_sum_of_running_and_waiting_for_every_ready_pod(
    setup: Setup,
) -> None:
    setup.cluster.ready = 2
    code, body = await setup.get(f"{PODS}/*/deepseek_requests?labelSelector=a%3Db")
    assert code == 200
    assert (body["kind"], body["apiVersion"]) == ("MetricValueList", f"{GROUP}/v1beta2")
    assert [(i["describedObject"]["name"], i["value"]) for i in body["items"]] == [
        ("r1-1", "5"),
        ("r1-2", "5"),
    ]
    assert body["items"][0]["metric"] == {"name": "deepseek_requests"}
    ((namespace, labels, _),) = setup.cluster.selected
    assert namespace == "apps"
    assert labels.startswith("a=b,app.kubernetes.io/managed-by=deepseek-operator")


async def test_both_metrics_come_from_one_reading(setup: Setup) -> None:
    answers = await asyncio.gather(
        setup.get(f"{PODS}/*/deepseek_requests"), setup.get(f"{PODS}/*/deepseek_kv_cache_percent")
    )
    assert [body["items"][0]["value"] for _, body in answers] == ["5", "12500m"]
    assert sum(setup.scrapes.values()) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("vllm:num_requests_running", "vllm:num_requests_waiting"),
        ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    ],
)
async def test_pods_of_other_engines_are_read_by_their_metric_names(
    setup: Setup, names: tuple[str, str]
) -> None:
    setup.text = "".join(
        f'{name}{{model_name="r1"}} {number}.0\n' for number, name in enumerate(names, 2)
    )
    _, body = await setup.get(f"{PODS}/*/deepseek_requests")
    assert [item["value"] for item in body["items"]] == ["5"]


async def test_one_pod_by_name(setup: Setup) -> None:
    code, body = await setup.get(f"{PODS}/r1-1/deepseek_requests")
    assert (code, len(body["items"])) == (200, 1)
    assert setup.cluster.selected[0][2] == "r1-1"
    setup.cluster.ready = 0
    code, body = await setup.get(f"{PODS}/r1-9/deepseek_requests")
    assert (code, body["reason"]) == (404, "NotFound")
    assert "apps/r1-9" in body["message"]


async def test_no_ready_pod_is_an_empty_list(setup: Setup) -> None:
    setup.cluster.ready = 0
    code, body = await setup.get(f"{PODS}/*/deepseek_requests")
    assert (code, body["items"]) == (200, [])


async def test_pods_that_cannot_be_read_are_reported(setup: Setup) -> None:
    setup.text = ""
    code, body = await setup.get(f"{PODS}/*/deepseek_requests")
    assert (code, body["kind"]) == (503, "Status")
    assert "None of 1 ready pod(s)" in body["message"]
    assert "500" in body["message"]


async def test_missing_metrics_of_an_unknown_engine_are_reported(setup: Setup) -> None:
    setup.text = "vllm:num_requests_running 1.0\n"
    code, body = await setup.get(f"{PODS}/*/deepseek_requests")
    assert code == 503
    assert "lacks deepseek_server_num_requests_running" in body["message"]


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        (f"{PODS}/*/cpu", 404, "available: deepseek_requests"),
        (f"{PODS}/*/deepseek_requests?metricLabelSelector=a", 400, "no labels"),
        (f"{ROOT}/namespaces/apps/services/*/deepseek_requests", 404, "services"),
        ("/", 404, "404 /"),
    ],
)
async def test_unknown_metrics_and_paths_are_rejected(
    setup: Setup, path: str, code: int, words: str
) -> None:
    found, body = await setup.get(path)
    assert (found, body["kind"], body["code"]) == (code, "Status", code)
    assert words in body["message"]


async def test_an_invalid_selector_is_a_client_error(setup: Setup) -> None:
    setup.cluster.failure = RejectedError("unable to parse requirement")
    code, body = await setup.get(f"{PODS}/*/deepseek_requests?labelSelector=((")
    assert (code, body["message"]) == (400, "unable to parse requirement")


async def test_an_unreachable_api_server_is_a_server_error(setup: Setup) -> None:
    setup.cluster.failure = UnreachableError("down")
    code, _ = await setup.get(f"{PODS}/*/deepseek_requests")
    assert code == 503
    setup.cluster.failure = None
    code, _ = await setup.get(f"{PODS}/*/deepseek_requests")
    assert code == 200, "a failure is not cached"


async def test_cluster_wide_access_is_reviewed_once(setup: Setup) -> None:
    for namespace in ("apps", "others", "more"):
        code, _ = await setup.get(f"{ROOT}/namespaces/{namespace}/pods/*/deepseek_requests")
        assert code == 200
    assert len(setup.cluster.reviews) == 1


async def test_access_reviews_name_user_groups_and_metric(setup: Setup) -> None:
    setup.cluster.allowed_in = {"apps"}
    await setup.get(f"{PODS}/*/deepseek_requests", **{"X-Remote-Group": "g"})
    await setup.get(f"{PODS}/*/deepseek_requests", **{"X-Remote-Group": "g"})
    everywhere, review = setup.cluster.reviews
    assert everywhere["resourceAttributes"]["namespace"] == ""
    assert review == {
        "user": "hpa",
        "groups": ["g", "system:authenticated"],
        "resourceAttributes": {
            "group": GROUP,
            "version": "v1beta2",
            "verb": "get",
            "namespace": "apps",
            "resource": "pods",
            "name": "*",
            "subresource": "deepseek_requests",
        },
    }
    code, _ = await setup.get(f"{ROOT}/namespaces/others/pods/*/deepseek_requests")
    assert code == 403
    await setup.get(ROOT)
    assert setup.cluster.reviews[-1]["nonResourceAttributes"] == {"path": ROOT, "verb": "get"}


async def test_an_unauthorized_user_gets_403_and_no_pod_is_read(setup: Setup) -> None:
    setup.cluster.allowed_in = set()
    for path in (ROOT, f"{PODS}/*/deepseek_requests", "/metrics"):
        code, body = await setup.get(path)
        assert (code, body["reason"]) == (403, "Forbidden")
    assert not setup.scrapes
    assert not setup.cluster.selected


async def test_discovery_lists_the_metrics(setup: Setup) -> None:
    code, body = await setup.get(ROOT)
    assert (code, body["groupVersion"]) == (200, f"{GROUP}/v1beta2")
    assert {item["name"] for item in body["resources"]} == {
        "pods/deepseek_requests",
        "pods/deepseek_kv_cache_percent",
    }


async def test_the_openapi_schema_is_empty(setup: Setup) -> None:
    assert (await setup.get("/openapi/v3")) == (200, {"paths": {}})
    code, body = await setup.get("/openapi/v2")
    assert (code, body["swagger"], body["paths"]) == (200, "2.0", {})
