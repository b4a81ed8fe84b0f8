"""The nodes of the cluster, reduced to what decides whether a pod fits."""

from dataclasses import dataclass
from typing import Any

from deepseek_operator.cluster.cached_object import Key, version_of
from deepseek_operator.plan.state.observed import NodeView

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """Compact form of a node."""

    version: int
    uid: str
    view: NodeView


class Nodes:
    """The newest known version of every node.

    Attributes:
        known: Nodes by key.
    """

    def __init__(self) -> None:
        self.known: dict[Key, Node] = {}
        self._views: tuple[NodeView, ...] | None = ()

    def put(self, key: Key, body: Object) -> bool:
        """Store a newer version of a node; return whether a field that is read has changed."""
        view = NodeView.of(body)
        before = self.known.get(key)
        self.known[key] = Node(version_of(body), body["metadata"]["uid"], view)
        if before and before.view == view:
            return False
        self._views = None
        return True

    def forget(self, key: Key) -> None:
        """Remove a deleted node."""
        del self.known[key]
        self._views = None

    def views(self) -> tuple[NodeView, ...]:
        """Return the views of all nodes: one tuple for all resources until a node changes."""
        if self._views is None:
            self._views = tuple(node.view for node in self.known.values())
        return self._views
