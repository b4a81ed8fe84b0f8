"""The custom metrics API, request by request; a real API server asks it in tests/integration."""

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.cluster.errors import RejectedError, UnreachableError
from deepseek_operator.cluster.kinds import ACCESS_REVIEW, POD
from deepseek_operator.custom_metrics import certificate, load, registration
from deepseek_operator.custom_metrics.access import Access
from deepseek_operator.custom_metrics.api import GROUP, ROOT, Api, quantity
from deepseek_operator.custom_metrics.front_proxy import FrontProxy, StrangerError, User
from deepseek_operator.custom_metrics.load import Load, sums
from deepseek_operator.custom_metrics.serving import Place
from deepseek_operator.custom_metrics.shared import Shared

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PLACE = Place("deepseek-system", "operator-metrics", 8443, "operator")
CONFIG_MAP = {
    "data": {
        "requestheader-client-ca-file": "PEM",
        "requestheader-allowed-names": '["front-proxy"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }
}
METRICS = """
# HELP deepseek_server_num_requests_running Requests that are answered.
# TYPE deepseek_server_num_requests_running gauge
deepseek_server_num_requests_running{model_name="r1 {a,b}"} 3.0
# TYPE deepseek_server_num_requests_waiting gauge
deepseek_server_num_requests_waiting{model_name="r1 {a,b}"} 2.0
deepseek_server_num_requests_waiting_ever{model_name="r1"} 1000.0
# TYPE deepseek_server_kv_cache_usage_perc gauge
deepseek_server_kv_cache_usage_perc{model_name="r1"} 0.125
deepseek_server_step_seconds_bucket{le="0.1"} 99.0
"""


def peer(name: str) -> dict[str, Any]:
    return {"subject": ((("organizationName", "o"),), (("commonName", name),))}


def front_proxy() -> FrontProxy:
    found = FrontProxy.of(CONFIG_MAP)
    assert found is not None
    return found


# Who asks


def test_the_user_stands_in_the_headers_of_the_api_server() -> None:
    user = front_proxy().user(
        peer("front-proxy"),
        [
            ("x-remote-user", "jane"),
            ("X-Remote-Group", "a"),
            ("X-Remote-Group", "b"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Extra-example.com%2fscope", "x"),
            ("X-Something", "else"),
        ],
    )
    groups = ("a", "b", "system:authenticated")
    assert user == User("jane", "7", groups, (("example.com/scope", ("x",)),))


@pytest.mark.parametrize(
    ("certificate", "headers", "words"),
    [
        (None, [("X-Remote-User", "system:admin")], "no certificate"),
        (peer("kubelet"), [("X-Remote-User", "system:admin")], "not kubelet"),
        (peer("front-proxy"), [], "for whom"),
        (peer("front-proxy"), [("X-Remote-User", "")], "for whom"),
    ],
)
def test_a_stranger_is_no_user_whatever_the_headers_say(
    certificate: Any, headers: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(StrangerError, match=words):
        front_proxy().user(certificate, headers)


def test_where_no_names_are_listed_the_authority_alone_decides() -> None:
    anybody = FrontProxy.of({"data": {**CONFIG_MAP["data"], "requestheader-allowed-names": "[]"}})
    assert anybody is not None
    assert anybody.user(peer("any"), [("X-Remote-User", "jane")]).name == "jane"


def test_an_api_server_without_aggregation_is_told_apart() -> None:
    assert FrontProxy.of({"data": {"client-ca-file": "PEM"}}) is None


# What pods say


def test_samples_are_found_by_their_whole_name() -> None:
    assert sums(METRICS) == {
        "deepseek_server_num_requests_running": 3.0,
        "deepseek_server_num_requests_waiting": 2.0,
        "deepseek_server_kv_cache_usage_perc": 0.125,
    }


@given(st.text())
def test_no_text_of_a_pod_breaks_the_reading(text: str) -> None:
    assert sums(text) == {} or "deepseek_server" in text


@given(st.floats(min_value=0, max_value=1e9))
def test_a_quantity_is_the_number_in_thousandths(value: float) -> None:
    text = quantity(value)
    number = int(text[:-1]) / 1000 if text.endswith("m") else int(text)
    assert abs(number - value) <= 0.0005 + value * 1e-9
    assert quantity(5.0) == "5"
    assert quantity(12.5) == "12500m"


# Requests


class Cluster:
    """The API server, as far as the API asks it."""

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
    """The API over a stand-in for the cluster and one for the pods."""

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
        monkeypatch.setattr(load, "PORT", server.port)

        class KnownProxy(FrontProxy):
            """TLS is the integration tests' matter: whoever comes has shown the certificate."""

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


async def test_every_ready_pod_tells_running_and_waiting_requests(setup: Setup) -> None:
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


async def test_pods_that_cannot_be_read_are_told_in_words(setup: Setup) -> None:
    setup.text = ""
    code, body = await setup.get(f"{PODS}/*/deepseek_requests")
    assert (code, body["kind"]) == (503, "Status")
    assert "None of 1 ready pod(s)" in body["message"]
    assert "500" in body["message"]


async def test_a_server_of_another_make_is_told_in_words(setup: Setup) -> None:
    setup.text = "vllm:num_requests_running 1.0\n"
    code, body = await setup.get(f"{PODS}/*/deepseek_requests")
    assert code == 503
    assert "does not tell deepseek_server_num_requests_running" in body["message"]


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        (f"{PODS}/*/cpu", 404, "there are: deepseek_requests"),
        (f"{PODS}/*/deepseek_requests?metricLabelSelector=a", 400, "no labels"),
        (f"{ROOT}/namespaces/apps/services/*/deepseek_requests", 404, "services"),
        ("/", 404, "404 /"),
    ],
)
async def test_what_there_is_not(setup: Setup, path: str, code: int, words: str) -> None:
    found, body = await setup.get(path)
    assert (found, body["kind"], body["code"]) == (code, "Status", code)
    assert words in body["message"]


async def test_a_selector_that_the_api_server_refuses_is_the_clients_mistake(setup: Setup) -> None:
    setup.cluster.failure = RejectedError("unable to parse requirement")
    code, body = await setup.get(f"{PODS}/*/deepseek_requests?labelSelector=((")
    assert (code, body["message"]) == (400, "unable to parse requirement")


async def test_an_api_server_that_does_not_answer_is_nobodys_mistake(setup: Setup) -> None:
    setup.cluster.failure = UnreachableError("down")
    code, _ = await setup.get(f"{PODS}/*/deepseek_requests")
    assert code == 503
    setup.cluster.failure = None
    code, _ = await setup.get(f"{PODS}/*/deepseek_requests")
    assert code == 200, "a failure is not remembered"


async def test_who_may_ask_everywhere_is_asked_about_once(setup: Setup) -> None:
    for namespace in ("apps", "others", "more"):
        code, _ = await setup.get(f"{ROOT}/namespaces/{namespace}/pods/*/deepseek_requests")
        assert code == 200
    assert len(setup.cluster.reviews) == 1


async def test_the_api_server_decides_who_may_ask_for_what(setup: Setup) -> None:
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


async def test_who_may_not_gets_nothing_and_no_pod_is_asked(setup: Setup) -> None:
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


async def test_there_is_a_schema_to_ask_for_though_nothing_is_in_it(setup: Setup) -> None:
    assert (await setup.get("/openapi/v3")) == (200, {"paths": {}})
    code, body = await setup.get("/openapi/v2")
    assert (code, body["swagger"], body["paths"]) == (200, "2.0", {})


# Answers that are shared


async def test_one_who_gives_up_does_not_take_the_answer_from_others() -> None:
    asked = 0
    go = asyncio.Event()

    async def ask(key: str) -> str:
        nonlocal asked
        asked += 1
        await go.wait()
        return key.upper()

    shared = Shared(60.0, ask)
    first, second = asyncio.create_task(shared.get("a")), asyncio.create_task(shared.get("a"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == "A"
    assert asked == 1


@pytest.mark.looptime
async def test_an_answer_ages() -> None:
    asked: list[str] = []

    async def ask(key: str) -> str:
        asked.append(key)
        return key

    shared = Shared(2.0, ask)
    await shared.get("a")
    await asyncio.sleep(1.9)
    await shared.get("a")
    assert asked == ["a"]
    await asyncio.sleep(0.2)
    await shared.get("a")
    assert asked == ["a", "a"]


# Certificate and registration


def test_a_certificate_serves_until_a_third_of_its_life_is_left() -> None:
    made = certificate.make(PLACE.host, NOW)
    assert made.serves(PLACE.host, NOW)
    assert made.serves(PLACE.host, NOW + datetime.timedelta(days=59))
    assert not made.serves(PLACE.host, NOW + datetime.timedelta(days=60, minutes=1))
    assert not made.serves("other.deepseek-system.svc", NOW)
    assert made.issued() == NOW


def test_after_a_renewal_the_certificate_before_is_still_trusted_but_none_older() -> None:
    first = certificate.make(PLACE.host, NOW)
    second = certificate.make(PLACE.host, NOW, first)
    third = certificate.make(PLACE.host, NOW, second)
    trusted = x509.load_pem_x509_certificates(third.authorities)
    assert len(trusted) == 2

    assert third.follows(second)
    assert not third.follows(first)
    numbers = [authority.serial_number for authority in trusted]
    newest = [x509.load_pem_x509_certificates(m.authorities)[0] for m in (third, second, first)]
    assert numbers == [newest[0].serial_number, newest[1].serial_number]
    for made, authority in ((third, trusted[0]), (second, trusted[1])):
        x509.load_pem_x509_certificate(made.chain).verify_directly_issued_by(authority)


@pytest.mark.parametrize("part", ["authorities", "chain", "key"])
def test_a_broken_secret_is_renewed(part: str) -> None:
    made = certificate.make(PLACE.host, NOW)
    broken = certificate.Certificate(**{**vars(made), part: b"nonsense"})
    assert not broken.serves(PLACE.host, NOW)
    assert certificate.make(PLACE.host, NOW, broken).serves(PLACE.host, NOW)


def test_a_key_of_another_certificate_is_renewed() -> None:
    one, two = certificate.make(PLACE.host, NOW), certificate.make(PLACE.host, NOW)
    mixed = certificate.Certificate(one.authorities, one.chain, two.key)
    assert not mixed.serves(PLACE.host, NOW)


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": "a"}, "spec": {"group": GROUP, **spec}}


def test_whoever_else_has_an_api_service_of_the_group_owns_it() -> None:
    made = certificate.make(PLACE.host, NOW)
    ours = registration.manifest(PLACE, made, None)
    theirs = service("v1beta1", service={"namespace": "monitoring", "name": "adapter"})
    assert registration.owner([ours], PLACE) == ""
    assert registration.owner([ours, theirs], PLACE) == "monitoring/adapter"
    assert registration.owner([service("local")], PLACE) == "APIService local"


def test_the_api_service_goes_with_the_installation() -> None:
    made = certificate.make(PLACE.host, NOW)
    role = {"metadata": {"name": "operator", "uid": "r-1"}}
    wanted = registration.manifest(PLACE, made, role)
    (owner,) = wanted["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("ClusterRole", "r-1")
    assert wanted["spec"]["service"] == {
        "namespace": "deepseek-system",
        "name": "operator-metrics",
        "port": 8443,
    }
    assert not registration.differs(wanted, wanted)
    assert registration.differs(wanted, registration.manifest(PLACE, made, None))
    renewed = certificate.make(PLACE.host, NOW, made)
    assert registration.differs(registration.manifest(PLACE, renewed, role), wanted)
