"""kopf as a harness: it logs in, watches and reconnects; its handlers only fill cache and queue.

None of kopf's handlers that keep state on objects is used (create, update, timer, daemon), so kopf
writes nothing to the cluster, and its storages are replaced by ones that do nothing.
"""

import asyncio
from typing import Any

import kopf

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.kinds import WATCHED, Kind
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.plan.labels import MANAGER


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
    for kind in WATCHED:
        where = (kind.group, kind.version, kind.plural)
        if kind.labels:
            chosen.watching.label_selectors[where] = kind.labels
        if kind.fields:
            chosen.watching.field_selectors[where] = kind.fields
    return chosen


def registry(cache: Cache, queue: WorkQueue[Key]) -> kopf.OperatorRegistry:
    """One handler per watched kind."""
    chosen = kopf.OperatorRegistry()
    kopf.on.login(registry=chosen)(_login)
    for kind in WATCHED:
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=chosen)(
            _handler(kind, cache, queue)
        )
    return chosen


def _login(**arguments: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


def _handler(kind: Kind, cache: Cache, queue: WorkQueue[Key]) -> Any:
    async def remember(type: str | None, event: Any, **_: Any) -> None:  # noqa: A002 - kopf's name
        change = cache.drop if type == "DELETED" else cache.put
        for key in change(kind, event["object"]):
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
