"""The client's handling of the API server's responses."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    NamespaceEndingError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
)
from deepseek_operator.cluster.kinds import POD, RESOURCE, SERVICE


class Response:
    def __init__(self, body: Any, status: int = 200, **headers: str) -> None:
        self.status, self.reason, self.headers = status, "Because", headers
        self._text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.content = self._lines()

    async def read(self) -> bytes:
        return self._text

    async def _lines(self) -> AsyncIterator[bytes]:
        for line in self._text.splitlines():
            yield line


class Api:
    """Returns scripted responses and records the requests."""

    def __init__(self, *answers: Response) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = list(answers)

    @asynccontextmanager
    async def send(self, method: str, path: str, **rest: Any) -> AsyncIterator[Response]:
        self.asked.append({"method": method, "path": path, **rest})
        yield self._answers.pop(0)


def client(*answers: Response) -> tuple[Api, Client]:
    api: Any = Api(*answers)
    return api, Client(api)


def listed(items: Any, token: str = "") -> Response:
    return Response({"metadata": {"resourceVersion": "9", "continue": token}, "items": items})


async def test_a_list_is_read_page_by_page() -> None:
    api, asking = client(listed([{"a": 1}], "more"), listed([{"a": 2}]))
    assert await asking.list(POD) == ([{"a": 1}, {"a": 2}], 9)
    assert api.asked[0]["query"]["labelSelector"] == POD.labels
    assert api.asked[1]["query"]["continue"] == "more"


async def test_an_empty_list_of_metadata_may_be_null() -> None:
    _, asking = client(listed(None))
    assert await asking.list(RESOURCE, metadata_only=True) == ([], 9)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "not found", NotFoundError),
        (409, "changed", ConflictError),
        (410, "expired", GoneError),
        (422, "invalid", RejectedError),
        (403, "forbidden", ForbiddenError),
        (401, "unauthorized", UnauthorizedError),
        (429, "too many", UnreachableError),
        (500, "etcd", UnreachableError),
        (500, "failed to create typed patch object: x", RejectedError),
    ],
)
async def test_a_failure_raises_the_error_of_its_status(
    status: int, message: str, kind: type[Exception]
) -> None:
    _, asking = client(Response({"message": message}, status))
    with pytest.raises(kind, match=message) as caught:
        await asking.post_event({"metadata": {"namespace": "a"}})
    assert type(caught.value) is kind


async def test_a_namespace_that_is_being_deleted_has_an_error_of_its_own() -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "...", "field": "metadata.namespace"}]
    status = {"message": "forbidden", "details": {"causes": causes}}
    _, asking = client(Response(status, 403))
    with pytest.raises(NamespaceEndingError, match="forbidden"):
        await asking.apply(SERVICE, {"metadata": {"name": "a", "namespace": "b"}})


async def test_a_crd_that_is_being_deleted_is_a_temporary_failure() -> None:
    words = 'x "a" is forbidden: create not allowed while custom resource definition is terminating'
    _, asking = client(Response({"message": words}, 403))
    with pytest.raises(UnreachableError, match="terminating"):
        await asking.apply(SERVICE, {"metadata": {"name": "a", "namespace": "b"}})


async def test_a_proxy_response_without_a_status_object_is_reported_by_its_code() -> None:
    _, asking = client(Response(b"<html>", 503, **{"Retry-After": "7"}))
    with pytest.raises(UnreachableError, match="503 Because") as caught:
        await asking.get(SERVICE, "a", "b")
    assert caught.value.retry_after == 7


async def test_a_stream_yields_changes_until_an_error_event() -> None:
    lines = [
        {"type": "ADDED", "object": {"a": 1}},
        {"type": "ERROR", "object": {"code": 410, "message": "too old"}},
    ]
    _, asking = client(Response("\n".join(map(json.dumps, lines)).encode()))
    stream = asking.watch(POD, 5, 300, 90)
    assert await anext(stream) == ("ADDED", {"a": 1})
    with pytest.raises(GoneError):
        await anext(stream)


async def test_a_stream_cut_in_the_middle_of_a_line_is_a_temporary_failure() -> None:
    _, asking = client(Response(b'{"type": "ADDED", "obj'))
    with pytest.raises(UnreachableError, match="Can't decode the API server's response"):
        await anext(asking.watch(POD, 5, 300, 90))


async def test_a_response_that_is_not_json_is_a_temporary_failure() -> None:
    _, asking = client(Response(b"<html>"))
    with pytest.raises(UnreachableError, match="Can't decode the API server's response"):
        await asking.get(SERVICE, "a", "b")


async def test_a_fenced_client_does_not_write_without_the_lease() -> None:
    api, asking = client()

    def forbidden() -> float:
        raise UnreachableError("not the leader")

    fenced = asking.fenced(forbidden)
    for write in (fenced.create, fenced.replace, fenced.apply):
        with pytest.raises(UnreachableError, match="not the leader"):
            await write(SERVICE, {"metadata": {"name": "a", "namespace": "b"}})
    assert api.asked == []


async def test_a_fenced_write_times_out_with_the_lease() -> None:
    api, asking = client(Response({}))
    await asking.fenced(lambda: 2.5).create(SERVICE, {"metadata": {"namespace": "b"}})
    assert api.asked[0]["limits"].total == 2.5
