"""What the operator would write for a resource, tried by the API server, which keeps nothing of it.

The operator's own reconcile loop does it, with a client whose writes are dry runs: so what is shown
is what would be done. It is one pass, as it would be made now; a rollout goes on in later ones.
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
    """What would become of one object.

    Attributes:
        before: As it is, None where there is none.
        after: As it would be, None where it would be deleted.
    """

    kind: str
    name: str
    before: Object | None
    after: Object | None

    @property
    def what(self) -> Literal["create", "update", "delete"]:
        """In one word."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "update"


class Rehearsal(Client):
    """A client whose writes are tried and not kept.

    Attributes:
        changes: What was written, in its order.
        said: The status that would have been written, None where it would stay.
        forbidden: The first write that the person may not try.
    """

    def __init__(self, client: Client):
        super().__init__(client._api)
        self.changes: list[Change] = []
        self.said: Object | None = None
        self.forbidden: ForbiddenError | None = None
        self._given: dict[tuple[Kind, Key], int] = {}

    async def apply(
        self, kind: Kind, manifest: Object, subresource: str = "", manager: str = MANAGER
    ) -> Object:
        """Server-side apply as the operator does it; of a status only what it says is kept."""
        if subresource:
            self.said = manifest["status"]
            return {**manifest, "spec": {}, "metadata": {**manifest["metadata"], "generation": 0}}
        key = key_of(manifest)
        before = await self.get(kind, *key)
        after = await super().apply(kind, manifest, subresource, manager)
        if manager == handover.MANAGER:
            # Not kept, so the next write would still seem to give the number up.
            self._given[kind, key] = after["spec"]["replicas"]
        elif (kind, key) in self._given:
            after["spec"]["replicas"] = self._given[kind, key]
        if manager == MANAGER:
            self.changes.append(Change(kind.name, key.name, before, after))
        return after

    async def delete(self, kind: Kind, live: Object) -> None:
        """Try to delete an object."""
        await super().delete(kind, live)
        whole = await self.get(kind, *key_of(live))
        self.changes.append(Change(kind.name, key_of(live).name, whole or live, None))

    def fenced(self, may_write: Callable[[], float]) -> "Rehearsal":
        """Itself: there is nothing to fence off."""
        return self

    async def post_event(self, event: Object) -> None:
        """Tell nobody."""

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
                # Of a deletion that has options in its body the API server does not read the query.
                body = {**body, "dryRun": ["All"]}
            tried = {**(query or {}), "dryRun": "All"}
            return await super()._write(method, path, body, content, tried)
        except ForbiddenError as error:
            self.forbidden = self.forbidden or error
            raise


class Given(Hub):
    """Knows one file and no hub."""

    def __init__(self, content: Mapping[str, Any] | None, otherwise: str):
        super().__init__()
        self._content, self._otherwise = content, otherwise

    async def read(self, file: ConfigFile) -> ConfigFile:
        """The file, or why it is not known."""
        if self._content is None:
            return replace(file, problem=self._otherwise)
        return replace(file, content=self._content)


async def rehearse(
    client: Client, body: Object, settings: Settings, served: frozenset[str], hub: Hub
) -> list[Change]:
    """What the operator would write if a resource were so, in the order in which it would.

    Args:
        client: The cluster.
        body: The resource as a person writes it, with its namespace.
        settings: Of the installation.
        served: Names of the optional kinds that there are.
        hub: Tells of models that the catalogue does not have.

    Raises:
        RefusedError: The operator would refuse it.
        ApiError: The API server refuses it, or can't be asked.
    """
    rehearsal = Rehearsal(client)
    stored = await _stored(rehearsal, body)
    cache = await filled(client, stored, served)
    loop = Reconciler(rehearsal, cache, settings, lambda _: None, hub)
    failure: RejectedError | None = None
    try:
        await loop.reconcile(key_of(stored))
    except RejectedError as error:
        failure = error
    if rehearsal.forbidden:
        raise rehearsal.forbidden
    accepted = condition(rehearsal.said or stored["status"], ACCEPTED)
    if accepted.get("status") == "False":
        raise RefusedError(accepted["reason"], accepted["message"])
    if failure:
        raise failure
    return [change for change in rehearsal.changes if plain(change.before) != plain(change.after)]


async def _stored(rehearsal: Rehearsal, body: Object) -> Object:
    """The resource as the API server would keep it, its defaults and status included."""
    metadata = {name: body["metadata"][name] for name in ("name", "namespace")}
    live = await rehearsal.get(RESOURCE, metadata["namespace"], metadata["name"])
    wanted = {"apiVersion": API_VERSION, "kind": RESOURCE.name, "spec": body["spec"]}
    if live is None:
        stored = await rehearsal.create(RESOURCE, {**wanted, "metadata": metadata})
    else:
        stored = await rehearsal.replace(RESOURCE, {**live, **wanted})
    version = stored["metadata"].get("resourceVersion") or "1"
    metadata = {**stored["metadata"], "resourceVersion": version}
    return {**stored, "metadata": metadata, "status": stored.get("status") or {}}


async def filled(client: Client, stored: Object, served: frozenset[str]) -> Cache:
    """What the operator would know: the resource, what belongs to it, and the nodes."""
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
    """A pod that nobody can ask anything: what it would be asked is the operator's business."""
    status = {name: part for name, part in pod.get("status", {}).items() if name != "podIP"}
    return {**pod, "status": status}


# What the API server writes itself, with every write.
NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def plain(item: Object | None) -> Object | None:
    """An object without what changes with every write, and without its status."""
    if item is None:
        return None
    metadata = {name: part for name, part in item["metadata"].items() if name not in NOISE}
    rest = {name: part for name, part in item.items() if name != "status"}
    return {**rest, "metadata": metadata}
