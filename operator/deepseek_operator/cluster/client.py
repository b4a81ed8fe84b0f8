"""Requests to the API server, as plain dictionaries and few at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from deepseek_operator.cluster.errors import (
    ConflictError,
    NotFoundError,
    RejectedError,
    UnreachableError,
)
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

    async def apply(
        self, kind: Kind, manifest: Object, subresource: str = "", manager: str = MANAGER
    ) -> Object:
        """Server-side apply of a manifest, taking over fields that others have changed."""
        metadata = manifest["metadata"]
        return await self._request(
            "patch",
            kind.path(metadata.get("namespace", ""), metadata["name"], subresource),
            body=manifest,
            content_type="application/apply-patch+yaml",
            field_manager=manager,
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

    async def delete(self, kind: Kind, live: Object) -> None:
        """Delete an object, but not another one that has come in its place; what is gone is fine."""
        metadata = live["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        with suppress(NotFoundError):
            await self._request(
                "delete", kind.path(metadata.get("namespace", ""), metadata["name"]), body=body
            )

    async def select(
        self, kind: Kind, namespace: str = "", labels: str = "", name: str = ""
    ) -> Sequence[Object]:
        """The objects of a namespace, or of a cluster, that labels or a name choose.

        As the API server has them in memory: cheap, and perhaps a moment old.
        """
        answer = await self._request(
            "get",
            kind.path(namespace),
            label_selector=labels or None,
            field_selector=f"metadata.name={name}" if name else None,
            resource_version="0",
        )
        items: Sequence[Object] = answer["items"]
        return items

    async def create(self, kind: Kind, manifest: Object) -> Object:
        """Create an object.

        Raises:
            ConflictError: There is one of this name.
        """
        return await self._request(
            "post", kind.path(manifest["metadata"].get("namespace", "")), body=manifest
        )

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        """Put an object in the place of the version that the manifest names.

        Raises:
            ConflictError: That is not its version any more.
        """
        metadata = manifest["metadata"]
        return await self._request(
            "put", kind.path(metadata.get("namespace", ""), metadata["name"]), body=manifest
        )

    async def watch(
        self, kind: Kind, version: int, seconds: int, silence: float
    ) -> AsyncIterator[tuple[str, Object]]:
        """What changes after a version: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        Args:
            kind: What is watched.
            version: The last one that is known.
            seconds: After so long the API server ends the stream.
            silence: Seconds without a line after which the stream counts as dead; bookmarks come
                about every minute.

        Raises:
            UnreachableError: The stream broke, or the server has forgotten that version.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=silence)
        try:
            response = await self._api.request(
                "get",
                kind.path(),
                serialize=False,
                query_params=[("allowWatchBookmarks", "true")],
                label_selector=kind.labels or None,
                field_selector=kind.fields or None,
                resource_version=str(version),
                timeout_seconds=seconds,
                watch=True,
                _request_timeout=timeout,
            )
            async with response:
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise UnreachableError(event["object"].get("message", "watch ended"))
                    yield event["type"], event["object"]
        except (DynamicApiError, ApiException) as error:
            raise _failure(error) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnreachableError(f"The watch of {kind.plural} broke: {error!r}") from error

    async def serves(self, kind: Kind) -> bool:
        """Whether the cluster has a kind, in the version that we speak."""
        try:
            found = await self._request("get", kind.discovery)
        except NotFoundError:
            return False
        return any(item["name"] == kind.plural for item in found["resources"])

    async def post_event(self, event: Object) -> None:
        """Create an Event."""
        await self.create(EVENT, event)

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


def _failure(error: DynamicApiError | ApiException) -> RejectedError | UnreachableError:
    message = _message(error)
    if error.status == 404:
        return NotFoundError(message)
    if message.startswith(MALFORMED):
        return RejectedError(message)
    if error.status == 409:
        return ConflictError(message)
    if error.status == 429 or error.status >= 500:
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
