"""kopf as the watch of the resource: it logs in, watches, reconnects; its handler fills the cache.

Children, pods and nodes are watched by `cluster/watch.py`, which gives the reason. None of kopf's
handlers that keep state on objects is used (create, update, timer, daemon), so kopf writes nothing
to the cluster, and its storages are replaced by ones that do nothing.
"""

import asyncio
from typing import Any

import kopf

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.kinds import RESOURCE
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.plan.state.labels import MANAGER


class NoDiffBase(kopf.DiffBaseStorage):
    """Storage without last-handled state: no handler is triggered by differences."""

    def build(self, **_: Any) -> Any:
        """Return an empty essence, which saves a deep copy of every object."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Return None: nothing is stored."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """Storage without progress of handlers: the queue retries."""

    def fetch(self, **_: Any) -> None:
        """Return None: nothing is stored."""

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Remove nothing."""

    def touch(self, **_: Any) -> None:
        """Store nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return the essence as it is: it holds no progress."""
        return essence


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: no peering, no scan of all CRDs, no Events, no stored state."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.persistence.diffbase_storage = NoDiffBase()
    chosen.persistence.progress_storage = NoProgress()
    chosen.networking.request_timeout = 30
    chosen.watching.connect_timeout = 10
    chosen.watching.server_timeout = 600
    chosen.watching.chunk_size = 500
    # kopf's task per object ends this soon after its event; the default keeps thousands alive.
    chosen.queueing.idle_timeout = 0.1
    return chosen


def registry(cache: Cache, queue: WorkQueue[Key]) -> kopf.OperatorRegistry:
    """Return a registry with the handler of the resource's events."""
    chosen = kopf.OperatorRegistry()
    kopf.on.login(registry=chosen)(_login)
    where = (RESOURCE.group, RESOURCE.version, RESOURCE.plural)
    kopf.on.event(*where, id=RESOURCE.plural, registry=chosen)(_handler(cache, queue))
    return chosen


def _login(**arguments: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


def _handler(cache: Cache, queue: WorkQueue[Key]) -> Any:
    async def remember(type: str | None, event: Any, **_: Any) -> None:  # noqa: A002 - kopf's name
        change = cache.drop if type == "DELETED" else cache.put
        for key in change(RESOURCE, event["object"]):
            queue.add(key)

    return remember


async def watch(
    cache: Cache, queue: WorkQueue[Key], stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Update the cache and the queue until `stop` is set; `ready` is set once kopf has started."""
    await kopf.operator(
        registry=registry(cache, queue),
        settings=settings(),
        clusterwide=True,
        # By default kopf looks up the user's name, which a container's user need not have.
        identity=MANAGER,  # type: ignore[arg-type]  # its own str type is not exported
        stop_flag=stop,
        ready_flag=ready,
    )
