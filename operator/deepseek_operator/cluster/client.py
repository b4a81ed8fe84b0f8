"""Requests to the API server, as plain dictionaries and few at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from deepseek_operator.cluster.errors import RejectedError, UnreachableError
from deepseek_operator.cluster.kinds import EVENT, POD, Kind
from deepseek_operator.plan.labels import MANAGER

Object = dict[str, Any]

# Requests in flight: enough to keep the API server busy, too few to crowd it out.
IN_FLIGHT = 32
PAGE = 500
TIMEOUT = 30.0
# Server-side apply answers 500, not 400, to a manifest with a value of a wrong type.
MALFORMED = ("failed to convert new object", "failed to create typed patch object")


class Client:
    """Requests to the API server.

    Every method raises `RejectedError` where the server refuses and `UnreachableError` where it can't answer.
    """

    def __init__(self, api: client.ApiClient):
        # Not awaited: that would read the whole API's discovery, and our kinds are known.
        self._api = DynamicClient(api)
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def apply(self, kind: Kind, manifest: Object, subresource: str = "") -> Object:
        """Server-side apply of a manifest, taking over fields that others have changed."""
        metadata = manifest["metadata"]
        return await self._request(
            "patch",
            kind.path(metadata["namespace"], metadata["name"], subresource),
            body=manifest,
            content_type="application/apply-patch+yaml",
            field_manager=MANAGER,
            force_conflicts=True,
        )

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """An object, or None where there is none."""
        try:
            return await self._request("get", kind.path(namespace, name))
        except NotFoundError:
            return None

    async def pods_on(self, node: str) -> Sequence[Object]:
        """Everybody's pods on a node that have not ended, as the API server has them at hand."""
        fields = f"spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
        answer = await self._request("get", POD.path(), field_selector=fields, resource_version="0")
        items: Sequence[Object] = answer["items"]
        return items

    async def list(self, kind: Kind) -> tuple[list[Object], int]:
        """All watched objects of a kind in every namespace, and the version of that state."""
        items: list[Object] = []
        version = token = ""
        while True:
            page = await self._request(
                "get",
                kind.path(),
                label_selector=kind.labels or None,
                field_selector=kind.fields or None,
                limit=PAGE,
                _continue=token or None,
            )
            items += page["items"]
            # The pages of a list show one state, that of the first.
            version = version or page["metadata"]["resourceVersion"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items, int(version)

    async def post_event(self, event: Object) -> None:
        """Create an Event."""
        await self._request("post", EVENT.path(event["metadata"]["namespace"]), body=event)

    async def _request(self, method: str, path: str, **arguments: Any) -> Object:
        async with self._slots:
            try:
                response = await self._api.request(
                    method, path, serialize=False, _request_timeout=TIMEOUT, **arguments
                )
                answer: Object = await response.json()
            except (DynamicApiError, ApiException) as error:
                raise _failure(error) from error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise UnreachableError(f"The API server can't be reached: {error!r}") from error
        return answer


class NotFoundError(RejectedError):
    """There is no such object."""


def _failure(error: DynamicApiError | ApiException) -> RejectedError | UnreachableError:
    message = _message(error)
    if error.status == 404:
        return NotFoundError(message)
    if message.startswith(MALFORMED):
        return RejectedError(message)
    if error.status in (409, 429) or error.status >= 500:
        after = (error.headers or {}).get("Retry-After", "")
        return UnreachableError(message, float(after) if after.isdigit() else None)
    return RejectedError(message)


def _message(error: DynamicApiError | ApiException) -> str:
    """The sentence of the API server's Status object."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


@asynccontextmanager
async def connect() -> AsyncIterator[Client]:
    """A client with the pod's service account, or with the current kubeconfig outside a cluster.

    Raises:
        kubernetes.aio.config.ConfigException: There is neither.
    """
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    async with client.ApiClient() as api:
        yield Client(api)
