"""kopf as a harness of the resource: it logs in, watches, reconnects; its handler fills the cache.

Children, pods and nodes are watched by `cluster/watch.py`, which says why. None of kopf's handlers that keep
state on objects is used (create, update, timer, daemon), so kopf writes nothing to the cluster, and
its storages are replaced by ones that do nothing.
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
    """Keeps no last-handled state: nothing here is triggered by differences."""

    def build(self, **_: Any) -> Any:
        """No essence, so no deep copy of every object."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing is stored."""

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: the queue retries."""

    def fetch(self, **_: Any) -> None:
        """Nothing is stored."""

    def store(self, **_: Any) -> None:
        """Nothing is stored."""

    def purge(self, **_: Any) -> None:
        """Nothing is stored."""

    def touch(self, **_: Any) -> None:
        """Nothing is stored."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing to remove."""
        return essence


def settings() -> kopf.OperatorSettings:
    """Kopf's settings: selectors on the server, no peering, no scan of all CRDs, no Events."""
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
    # A task per object ends so soon after its event; the default keeps thousands for a while.
    chosen.queueing.idle_timeout = 0.1
    return chosen


def registry(cache: Cache, queue: WorkQueue[Key]) -> kopf.OperatorRegistry:
    """The handler of the resource's events."""
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
    """Keep cache and queue filled until `stop` is set."""
    await kopf.operator(
        registry=registry(cache, queue),
        settings=settings(),
        clusterwide=True,
        # kopf would ask for the user's name, which a container's user need not have.
        identity=MANAGER,  # type: ignore[arg-type]  # its own str type is not exported
        stop_flag=stop,
        ready_flag=ready,
    )
