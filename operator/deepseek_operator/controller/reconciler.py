"""The reconcile loop of one resource: observe, decide, apply, report."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.client import Client, Object
from deepseek_operator.cluster.drift import in_sync
from deepseek_operator.cluster.errors import (
    NamespaceEndingError,
    RejectedError,
    UnreachableError,
)
from deepseek_operator.cluster.kept import Key, Mark, key_of
from deepseek_operator.cluster.kinds import DEPLOYMENT, RESOURCE, Kind, kind_of
from deepseek_operator.controller.events import event
from deepseek_operator.controller.metrics import WRITES
from deepseek_operator.plan.checks import Refusal
from deepseek_operator.plan.plan import News, decide, report
from deepseek_operator.plan.settings import Settings
from deepseek_operator.plan.target import Target
from deepseek_operator.render.reuse import Renderer

Digest = bytes

logger = logging.getLogger(__name__)

CHILD_REJECTED = "ChildRejected"
NAME_TAKEN = "NameTaken"


class NameTakenError(Exception):
    """An object that somebody else made has the name that a child needs."""


class Reconciler:
    """Brings the children and the status of one resource to what its spec says.

    Args:
        client: Writes.
        cache: What is known of the cluster.
        settings: Of the installation.
        again: Has a resource looked at once more.
    """

    def __init__(
        self, client: Client, cache: Cache, settings: Settings, again: Callable[[Key], None]
    ):
        self._client = client
        self._cache = cache
        self._settings = settings
        self._again = again
        self._renderer = Renderer()
        # What was found in order, so that nothing is rendered where neither target nor children
        # have changed since.
        self._in_order: dict[Key, tuple[Digest, tuple[Mark | None, ...]]] = {}

    async def reconcile(self, key: Key) -> None:
        """One pass over one resource.

        Raises:
            UnreachableError: The API server could not be asked; try again.
            RejectedError: It refuses a child; the status says so; try again, but not soon.
        """
        body = self._cache.get(RESOURCE, key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._in_order.pop(key, None)
            return  # Kubernetes deletes the children with their owner.
        decision = decide(body, self._settings, self._cache.observe(key))
        failure: RejectedError | None = None
        if isinstance(decision, Target):
            try:
                await self._apply(decision)
            except NamespaceEndingError:
                raise
            except RejectedError as error:
                failure = error
                decision = Refusal(CHILD_REJECTED, f"The API server refuses a child: {error}")
            except NameTakenError as error:
                failure = RejectedError(str(error))
                decision = Refusal(NAME_TAKEN, str(error))
        await self._report(body, decision)
        if failure:
            raise failure

    async def _apply(self, target: Target) -> None:
        key = Key(target.resource.namespace, target.resource.name)
        digest = _digest(target)
        if self._in_order.get(key) == (digest, self._cache.marks(key)):
            return
        await self._apply_children(target)
        self._in_order[key] = (digest, self._cache.marks(key))

    async def _apply_children(self, target: Target) -> None:
        """What a pod needs comes before the pods; beyond that the order is free."""
        manifests = self._renderer.children(target)
        kinds = [manifest["kind"] for manifest in manifests]
        pods = kinds.index(DEPLOYMENT.name)
        for stage in (manifests[:pods], manifests[pods : pods + 1], manifests[pods + 1 :]):
            results = await asyncio.gather(
                *(self._apply_child(manifest) for manifest in stage), return_exceptions=True
            )
            for error in results:
                if error is not None:
                    raise error

    async def _apply_child(self, manifest: Object) -> None:
        kind, key = kind_of(manifest), key_of(manifest)
        live = self._cache.get(kind, key)
        if live is None and await self._client.glance(kind, *key) is not None:
            live = await self._client.get(kind, *key)
        if live is not None:
            _check_owner(kind, manifest, live)
            if in_sync(manifest, live):
                self._cache.put_written(kind, live)
                return
        self._cache.put_written(kind, await self._write(kind, manifest))

    async def _report(self, body: Object, decision: Target | Refusal) -> None:
        key, now = key_of(body), _now()
        said = report(body, decision, self._cache.observe(key), now)
        if said.status == body["status"]:
            return
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            # The uid keeps the status of a deleted resource from reaching its successor.
            "metadata": {k: body["metadata"][k] for k in ("name", "namespace", "uid")},
            "status": said.status,
        }
        result = await self._write(RESOURCE, manifest, "status")
        self._cache.put_written(RESOURCE, result)
        if result["metadata"]["generation"] != body["metadata"]["generation"]:
            self._again(key)  # An edit came in between; its own event finds it known already.
        if said.news:
            await self._tell(body, said.news, now)

    async def _write(self, kind: Kind, manifest: Object, subresource: str = "") -> Object:
        try:
            result = await self._client.apply(kind, manifest, subresource)
        except (RejectedError, UnreachableError) as error:
            WRITES.labels(kind.name, type(error).__name__).inc()
            raise
        WRITES.labels(kind.name, "ok").inc()
        return result

    async def _tell(self, body: dict[str, Any], news: News, now: str) -> None:
        logger.info("%s: %s: %s", key_of(body), news.reason, news.message)
        try:
            await self._client.post_event(event(body, news, now))
        except RejectedError as error:
            # An Event is a courtesy: the status has said it already.
            logger.warning("%s: the Event could not be written: %s", key_of(body), error)


def _check_owner(kind: Kind, manifest: Object, live: Object) -> None:
    (wanted,) = manifest["metadata"]["ownerReferences"]
    owners = [
        item for item in live["metadata"].get("ownerReferences", []) if item.get("controller")
    ]
    if any(owner["uid"] == wanted["uid"] for owner in owners):
        return
    if any(owner["kind"] == KIND and owner["name"] == wanted["name"] for owner in owners):
        raise UnreachableError("The children of a deleted resource of this name are not yet gone.")
    raise NameTakenError(
        f"A {kind.name} named {wanted['name']} exists in the namespace and does not belong to this "
        f"resource. Rename the resource, or delete the {kind.name}."
    )


def _digest(target: Target) -> Digest:
    return hashlib.sha256(repr(target).encode()).digest()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
