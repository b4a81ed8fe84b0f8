"""Dry run of the operator: the changes that it would make for a resource.

The operator's own reconcile loop runs with a client whose writes are server-side dry runs, so the
result is what the operator would do. It covers one reconciliation now; a rollout continues in later ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from deepseek_operator.api.section import API_VERSION
from deepseek_operator.cli.errors import RefusedError
from deepseek_operator.cluster import handover
from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.cached_object import key_of
from deepseek_operator.cluster.client import JSON, Client
from deepseek_operator.cluster.errors import ForbiddenError, RejectedError
from deepseek_operator.cluster.kinds import CHILDREN, NODE, POD, RESOURCE, Kind
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.plan.state.labels import MANAGER, NAME
from deepseek_operator.plan.state.observed import ConfigFile
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status.conditions import ACCEPTED, condition

Object = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """The change of one object.

    Attributes:
        kind: Kind of the object.
        name: Name of the object.
        before: The live object; None if it does not exist.
        after: The object after the change; None if it would be deleted.
    """

    kind: str
    name: str
    before: Object | None
    after: Object | None

    @property
    def what(self) -> Literal["create", "update", "delete"]:
        """The type of the change."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "update"


class DryRunClient(Client):
    """A client whose writes are dry runs.

    Attributes:
        changes: The changes, in the order of the writes.
        written_status: The status that would be written; None if it stays the same.
        forbidden: Error of the first write that the user may not make.
    """

    def __init__(self, client: Client):
        super().__init__(client._api)
        self.changes: list[Change] = []
        self.written_status: Object | None = None
        self.forbidden: ForbiddenError | None = None
        self._handed_over: dict[tuple[Kind, Key], int] = {}

    async def apply(
        self, kind: Kind, manifest: Object, subresource: str = "", manager: str = MANAGER
    ) -> Object:
        """Apply a manifest as a dry run; record a status without sending it."""
        if subresource:
            self.written_status = manifest["status"]
            return {**manifest, "spec": {}, "metadata": {**manifest["metadata"], "generation": 0}}
        key = key_of(manifest)
        before = await self.get(kind, *key)
        after = await super().apply(kind, manifest, subresource, manager)
        if manager == handover.MANAGER:
            # A dry run is not stored, so the next apply would seem to release the field replicas.
            self._handed_over[kind, key] = after["spec"]["replicas"]
        elif (kind, key) in self._handed_over:
            after["spec"]["replicas"] = self._handed_over[kind, key]
        if manager == MANAGER:
            self.changes.append(Change(kind.name, key.name, before, after))
        return after

    async def delete(self, kind: Kind, live: Object) -> None:
        """Delete an object as a dry run."""
        await super().delete(kind, live)
        whole = await self.get(kind, *key_of(live))
        self.changes.append(Change(kind.name, key_of(live).name, whole or live, None))

    def fenced(self, may_write: Callable[[], float]) -> "DryRunClient":
        """Return the client itself: dry runs need no fencing."""
        return self

    async def post_event(self, event: Object) -> None:
        """Discard the Event."""

    async def _write(
        self,
        method: str,
        path: str,
        body: Object,
        content: str = JSON,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        try:
            if method == "DELETE":
                # The API server ignores the query of a deletion that has options in its body.
                body = {**body, "dryRun": ["All"]}
            tried = {**(query or {}), "dryRun": "All"}
            return await super()._write(method, path, body, content, tried)
        except ForbiddenError as error:
            self.forbidden = self.forbidden or error
            raise


class KnownConfig(Hub):
    """A hub that knows at most one config.json and makes no requests."""

    def __init__(self, content: Mapping[str, Any] | None, otherwise: str):
        super().__init__()
        self._content, self._otherwise = content, otherwise

    async def read(self, file: ConfigFile) -> ConfigFile:
        """Return the file with its content, or with the problem that it is unknown."""
        if self._content is None:
            return replace(file, problem=self._otherwise)
        return replace(file, content=self._content)


async def dry_run(
    client: Client, body: Object, settings: Settings, served: frozenset[str], hub: Hub
) -> list[Change]:
    """Return the changes that the operator would make for a resource, in the order of its writes.

    Args:
        client: The cluster.
        body: The resource as the user writes it, with its namespace.
        settings: Settings of the operator.
        served: Names of the optional kinds that the cluster serves.
        hub: Source of config.json for models that are not in the catalogue.

    Raises:
        RefusedError: The operator would reject the resource.
        ApiError: The API server rejects the resource, or can't be reached.
    """
    dry_run_client = DryRunClient(client)
    stored = await _stored(dry_run_client, body)
    cache = await filled_cache(client, stored, served)
    loop = Reconciler(dry_run_client, cache, settings, lambda _: None, hub)
    failure: RejectedError | None = None
    try:
        await loop.reconcile(key_of(stored))
    except RejectedError as error:
        failure = error
    if dry_run_client.forbidden:
        raise dry_run_client.forbidden
    accepted = condition(dry_run_client.written_status or stored["status"], ACCEPTED)
    if accepted.get("status") == "False":
        raise RefusedError(accepted["reason"], accepted["message"])
    if failure:
        raise failure
    return [
        change for change in dry_run_client.changes if plain(change.before) != plain(change.after)
    ]


async def _stored(dry_run_client: DryRunClient, body: Object) -> Object:
    """Return the resource as the API server would store it, with defaults and status."""
    metadata = {name: body["metadata"][name] for name in ("name", "namespace")}
    live = await dry_run_client.get(RESOURCE, metadata["namespace"], metadata["name"])
    wanted = {"apiVersion": API_VERSION, "kind": RESOURCE.name, "spec": body["spec"]}
    if live is None:
        stored = await dry_run_client.create(RESOURCE, {**wanted, "metadata": metadata})
    else:
        stored = await dry_run_client.replace(RESOURCE, {**live, **wanted})
    version = stored["metadata"].get("resourceVersion") or "1"
    metadata = {**stored["metadata"], "resourceVersion": version}
    return {**stored, "metadata": metadata, "status": stored.get("status") or {}}


async def filled_cache(client: Client, stored: Object, served: frozenset[str]) -> Cache:
    """Return the operator's cache with the resource, its children and pods, and the nodes."""
    cache = Cache()
    cache.served = served
    cache.put(RESOURCE, stored)
    key = key_of(stored)
    for node in (await client.list(NODE))[0]:
        cache.put(NODE, node)
    for kind in (*CHILDREN, POD):
        if kind.optional and kind.called not in served:
            continue
        labels = ",".join(part for part in (kind.labels, f"{NAME}={key.name}") if part)
        for item in await client.select(kind, key.namespace, labels=labels):
            cache.put(kind, _unreachable(item) if kind is POD else item)
    return cache


def _unreachable(pod: Object) -> Object:
    """Return the pod without its IP, so that the dry run sends no requests to model servers."""
    status = {name: part for name, part in pod.get("status", {}).items() if name != "podIP"}
    return {**pod, "status": status}


# Metadata that the API server sets on every write.
NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def plain(item: Object | None) -> Object | None:
    """Return an object without its status and the metadata that every write changes."""
    if item is None:
        return None
    metadata = {name: part for name, part in item["metadata"].items() if name not in NOISE}
    rest = {name: part for name, part in item.items() if name != "status"}
    return {**rest, "metadata": metadata}
