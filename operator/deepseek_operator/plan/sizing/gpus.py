"""The GPUs of one pod."""

from dataclasses import dataclass, field

from deepseek_operator.catalog.accelerators import Labels, Profile
from deepseek_operator.plan.state.observed import NodeView


@dataclass(frozen=True)
class Gpus:
    """The GPUs of one pod, which is a replica unless that spans several.

    Attributes:
        resource: Name of the extended resource.
        count: How many.
        rdma: Name of the resource by which pods get at the fast network of its nodes, empty: none.
        nodes: Labels of fitting nodes (any one of them with one of its values); empty: any node.
    """

    resource: str
    count: int
    profile: str | None = None
    nodes: Labels = field(default_factory=dict)
    rdma: str = ""

    @classmethod
    def of(cls, name: str, profile: Profile, count: int) -> "Gpus":
        """So many of a kind."""
        return cls(profile.resource, count, name, profile.labels, profile.rdma)

    def __str__(self) -> str:
        return f"{self.count} x {self.profile or 'GPU'}"

    def of_node(self, node: NodeView) -> int:
        """How many of its resource a node has."""
        return int(node.allocatable.get(self.resource, 0))

    def match(self, node: NodeView) -> bool:
        """Whether a node's labels mark this kind."""
        return not self.nodes or any(
            node.labels.get(label) in values for label, values in self.nodes.items()
        )

    def fit(self, node: NodeView) -> bool:
        """Whether a node has enough of this kind, free or not."""
        return self.of_node(node) >= self.count and self.match(node)
