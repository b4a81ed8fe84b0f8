"""The pods of all resources: their views, those without a node, and the progress of their servers."""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from deepseek_operator.cluster.cached_object import Key, owner_of, version_of
from deepseek_operator.plan.state.labels import BLUE, Color
from deepseek_operator.plan.state.loading import Loading
from deepseek_operator.plan.state.observed import PodView
from deepseek_operator.plan.traffic.pod_endpoints import ScrapeTarget, scrape_target

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """Compact form of a pod.

    Attributes:
        version: Its resource version.
        uid: Its UID.
        owner: The resource that it belongs to.
        view: The fields that decisions read.
        address: Its IP address, empty if it has none.
        scrape_target: Where its server reports progress and metrics.
        end: Deadline of its termination, None if it is not terminating.
    """

    version: int
    uid: str
    owner: Key
    view: PodView
    address: str
    scrape_target: ScrapeTarget
    end: datetime | None

    @classmethod
    def of(cls, body: Object) -> "Pod":
        """Return the compact form of a Pod object."""
        end = body["metadata"].get("deletionTimestamp")
        return cls(
            version_of(body),
            body["metadata"]["uid"],
            owner_of(body),
            PodView.of(body),
            body.get("status", {}).get("podIP", ""),
            scrape_target(body),
            datetime.fromisoformat(end) if end else None,
        )

    def same(self, other: "Pod") -> bool:
        """Return whether no field that is read differs."""
        return replace(self, version=0) == replace(other, version=0)


class Pods:
    """The newest known version of every pod.

    Attributes:
        known: Pods by namespace and name.
    """

    def __init__(self) -> None:
        self.known: dict[Key, Pod] = {}
        self._of: dict[Key, set[Key]] = defaultdict(set)
        self._unplaced: set[Key] = set()
        self._mount_failures: dict[Key, str] = {}
        # Progress of the servers that run but do not serve yet.
        self._loading: dict[Key, Loading | None] = {}

    def put(self, key: Key, body: Object) -> set[Key]:
        """Store a newer version of a pod; return the affected resource."""
        pod = Pod.of(body)
        before = self.known.get(key)
        self.known[key] = pod
        self._of[pod.owner].add(key)
        if pod.view.unscheduled is not None and pod.end is None:
            self._unplaced.add(key)
        else:
            self._unplaced.discard(key)
        if pod.view.running and not pod.view.ready:
            self._loading.setdefault(key, None)
        else:
            self._loading.pop(key, None)
        return set() if before and before.same(pod) else {pod.owner}

    def forget(self, key: Key) -> set[Key]:
        """Remove a deleted pod; return the affected resource."""
        owner = self.known.pop(key).owner
        self._of[owner].discard(key)
        if not self._of[owner]:
            del self._of[owner]
        self._unplaced.discard(key)
        self._mount_failures.pop(key, None)
        self._loading.pop(key, None)
        return {owner}

    def put_mount_failure(self, event: Object) -> set[Key]:
        """Store the kubelet's report of a failed mount; return the affected resource."""
        about = event["involvedObject"]
        key = Key(about.get("namespace", ""), about.get("name", ""))
        pod = self.known.get(key)
        message = event.get("message", "")
        if pod is None or self._mount_failures.get(key) == message:
            return set()
        self._mount_failures[key] = message
        return {pod.owner}

    def loading(self) -> list[tuple[Key, str, ScrapeTarget, Loading | None]]:
        """Return the pods whose server runs but does not serve yet, with address and progress."""
        found = ((key, self.known[key], how_far) for key, how_far in self._loading.items())
        return [
            (key, pod.address, pod.scrape_target, how_far)
            for key, pod, how_far in found
            if pod.address
        ]

    def put_loading(self, key: Key, loading: Loading | None) -> set[Key]:
        """Store the load progress of a pod's server; return the affected resource."""
        if key not in self._loading or self._loading[key] == loading:
            return set()
        self._loading[key] = loading
        return {self.known[key].owner}

    def staying(self, owner: Key, color: Color = BLUE) -> tuple[PodView, ...]:
        """Return the pods of a resource's set that are not terminating, sorted by name."""
        names = self._names(owner, color)
        return tuple(self._view(name) for name in names if self.known[name].end is None)

    def failed(self, owner: Key, color: Color = BLUE) -> tuple[PodView, ...]:
        """Return the pods of multi-pod replicas whose server has ended, terminating or not."""
        views = (self.known[name].view for name in self._names(owner, color))
        return tuple(view for view in views if view.group is not None and view.ended is not None)

    def leaving(self, owner: Key, color: Color = BLUE) -> tuple[datetime, ...]:
        """Return the deadlines of a set's terminating pods that have a node."""
        pods = (self.known[name] for name in self._names(owner, color))
        return tuple(pod.end for pod in pods if pod.end and pod.view.scheduled)

    def serving(self, owner: Key, color: Color) -> list[tuple[PodView, str, ScrapeTarget]]:
        """Return a set's pods that take requests, with their address and where to scrape them."""
        pods = (self.known[name] for name in self._names(owner, color))
        return [
            (pod.view, pod.address, pod.scrape_target)
            for pod in pods
            if pod.end is None and pod.address and pod.view.ready and pod.view.index == 0
        ]

    def _names(self, owner: Key, color: Color) -> list[Key]:
        names = self._of.get(owner, ())
        return sorted(name for name in names if self.known[name].view.color == color)

    def waiting(self) -> set[Key]:
        """Return the resources that have a pod without a node."""
        return {self.known[key].owner for key in self._unplaced}

    def _view(self, key: Key) -> PodView:
        view, failure = self.known[key].view, self._mount_failures.get(key)
        if loading := self._loading.get(key):
            view = replace(view, loading=loading)
        if failure is None or view.running:
            return view
        return replace(view, mount_failure=failure)
