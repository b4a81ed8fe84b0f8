"""Client of the API server that works with plain dictionaries and limits requests in flight."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from deepseek_operator.cluster.answers import api_error, failure
from deepseek_operator.cluster.connection import Connection, connection
from deepseek_operator.cluster.errors import NotFoundError, UnreachableError
from deepseek_operator.cluster.kinds import EVENT, POD, Kind
from deepseek_operator.plan.state.labels import MANAGER

Object = dict[str, Any]

# Requests in flight: enough to keep the API server busy, too few to overload it.
IN_FLIGHT = 32
PAGE = 500
TIMEOUT = 30.0  # seconds
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
# The API server's media type for metadata alone.
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Client:
    """Client of the API server.

    Every method raises `RejectedError` if the server rejects the request and `UnreachableError` if
    it can't respond.

    Args:
        api: The connection.
        may_write: Returns how many seconds a write may take; called before each, it raises if no
            write may begin. By default a write may take as long as a read.
    """

    def __init__(self, api: Connection, may_write: Callable[[], float] = lambda: TIMEOUT):
        self._api = api
        self._may_write = may_write
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    def fenced(self, may_write: Callable[[], float]) -> "Client":
        """Return a client over the same connection that calls `may_write` before each write."""
        return Client(self._api, may_write)

    async def apply(
        self, kind: Kind, manifest: Object, subresource: str = "", manager: str = MANAGER
    ) -> Object:
        """Apply a manifest server-side, taking over fields that others have changed."""
        metadata = manifest["metadata"]
        return await self._write(
            "PATCH",
            kind.path(metadata.get("namespace", ""), metadata["name"], subresource),
            manifest,
            APPLY,
            {"fieldManager": manager, "force": "true"},
        )

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object, or None if it does not exist."""
        return await self._found(kind.path(namespace, name), {})

    async def get_cached(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object from the API server's watch cache, which may lag behind its store."""
        return await self._found(kind.path(namespace, name), {"resourceVersion": "0"})

    async def pages(
        self, kind: Kind, metadata_only: bool = False
    ) -> AsyncIterator[tuple[list[Object], int]]:
        """Yield all watched objects of a kind in every namespace by page, with the list's version.

        All pages show the state at that version.
        """
        version = token = ""
        while True:
            query = {**kind.query, "limit": str(PAGE)} | ({"continue": token} if token else {})
            accept = {"Accept": METADATA_ONLY if metadata_only else JSON}
            page = await self._request("GET", kind.path(), query, accept)
            version = version or page["metadata"]["resourceVersion"]
            # An empty list of metadata alone has null instead of [].
            yield page["items"] or [], int(version)
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def list(self, kind: Kind, metadata_only: bool = False) -> tuple[list[Object], int]:
        """Return all pages at once, for kinds with few objects or for metadata alone."""
        items: list[Object] = []
        version = 0
        async for page, at in self.pages(kind, metadata_only):
            items += page
            version = at
        return items, version

    async def watch(
        self, kind: Kind, version: int, seconds: int, silence: float
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield the changes after a version: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        Args:
            kind: Kind to watch.
            version: Last known resource version.
            seconds: Seconds after which the API server ends the stream.
            silence: Seconds without a line after which the stream counts as dead; bookmarks arrive
                about every minute.

        Raises:
            GoneError: The API server no longer has the changes since that version.
        """
        query = {
            **kind.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(seconds),
        }
        limits = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=silence)
        with _translated():
            async with self._api.send(
                "GET", kind.path(), query=query, headers={"Accept": JSON}, limits=limits
            ) as response:
                if response.status != 200:
                    raise failure(response, await response.read())
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise api_error(event["object"])
                    yield event["type"], event["object"]

    async def select(
        self, kind: Kind, namespace: str = "", labels: str = "", name: str = "", fields: str = ""
    ) -> Sequence[Object]:
        """Return the objects of a namespace, or of the cluster, that match the selectors.

        They come from the API server's watch cache: cheap, and perhaps slightly outdated.
        """
        fields = f"metadata.name={name}" if name else fields
        return await self._at_hand(kind.path(namespace), labels, fields)

    async def pods_on(self, node: str) -> Sequence[Object]:
        """Return all pods of a node that have not ended, from the API server's watch cache."""
        fields = f"spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
        return await self._at_hand(POD.path(), fields=fields)

    async def answer(self, path: str) -> Object | None:
        """Return the response at a path that is no object (version, discovery), or None."""
        return await self._found(path, {})

    async def serves(self, kind: Kind) -> bool:
        """Return whether the cluster serves a kind in the version that the operator uses."""
        found = await self._found(kind.discovery, {})
        return any(item["name"] == kind.plural for item in (found or {}).get("resources") or [])

    async def delete(self, kind: Kind, live: Object) -> None:
        """Delete an object, but not a successor of its name; do nothing if it is gone already."""
        metadata = live["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        with suppress(NotFoundError):
            await self._write(
                "DELETE", kind.path(metadata.get("namespace", ""), metadata["name"]), options
            )

    async def create(self, kind: Kind, manifest: Object) -> Object:
        """Create an object.

        Raises:
            ConflictError: An object of this name exists.
        """
        return await self._write(
            "POST", kind.path(manifest["metadata"].get("namespace", "")), manifest
        )

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        """Replace an object at the resource version that the manifest names.

        Raises:
            ConflictError: The object has changed since that version.
        """
        metadata = manifest["metadata"]
        return await self._write(
            "PUT", kind.path(metadata.get("namespace", ""), metadata["name"]), manifest
        )

    async def post_event(self, event: Object) -> None:
        """Create an Event."""
        await self.create(EVENT, event)

    async def _write(
        self,
        method: str,
        path: str,
        body: Object,
        content: str = JSON,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        async with self._slots:
            seconds = self._may_write()
            return await self._carried_out(
                method, path, query, body, {"Content-Type": content}, min(TIMEOUT, seconds)
            )

    async def _at_hand(self, path: str, labels: str = "", fields: str = "") -> Sequence[Object]:
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        query = {name: value for name, value in selectors.items() if value}
        answer = await self._request("GET", path, {**query, "resourceVersion": "0"})
        items: Sequence[Object] = answer["items"] or []
        return items

    async def _found(self, path: str, query: Mapping[str, str]) -> Object | None:
        try:
            return await self._request("GET", path, query)
        except NotFoundError:
            return None

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        async with self._slots:
            return await self._carried_out(method, path, query, None, headers or {}, TIMEOUT)

    async def _carried_out(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> Object:
        with _translated():
            async with self._api.send(
                method,
                path,
                query=query,
                body=body,
                headers=headers,
                limits=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                text = await response.read()
                if response.status >= 400:
                    raise failure(response, text)
                answer: Object = json.loads(text)
        return answer


@contextmanager
def _translated() -> Iterator[None]:
    """Turn network failures into UnreachableError."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnreachableError(f"The API server can't be reached: {error!r}") from error
    except ValueError as error:
        raise UnreachableError(f"Can't decode the API server's response: {error}") from error


@asynccontextmanager
async def connect(
    context: str | None = None, kubeconfig: Path | None = None
) -> AsyncIterator[Client]:
    """Yield a client with the pod's service account, or with a kubeconfig outside a cluster.

    Args:
        context: Context of the kubeconfig, used even in a pod; empty: its current one.
        kubeconfig: Its path; None: the one that `kubectl` uses.

    Raises:
        kubernetes.aio.config.ConfigException: There is neither of these.
    """
    async with connection(context, kubeconfig) as api:
        yield Client(api)
