"""The GPUs of one pod."""

from dataclasses import dataclass, field

from deepseek_operator.catalog.accelerators import Labels, Profile
from deepseek_operator.plan.state.observed import NodeView


@dataclass(frozen=True)
class Gpus:
    """The GPUs of one pod: of a whole replica, or of a part of a multi-pod replica.

    Attributes:
        resource: Name of the extended resource.
        count: Number of GPUs.
        rdma: Name of the extended resource for RDMA on its nodes, empty: none.
        nodes: Labels of matching nodes (any one of them with one of its values); empty: any node.
    """

    resource: str
    count: int
    profile: str | None = None
    nodes: Labels = field(default_factory=dict)
    rdma: str = ""

    @classmethod
    def of(cls, name: str, profile: Profile, count: int) -> "Gpus":
        """Return a number of GPUs of a profile."""
        return cls(profile.resource, count, name, profile.labels, profile.rdma)

    def __str__(self) -> str:
        return f"{self.count} x {self.profile or 'GPU'}"

    def of_node(self, node: NodeView) -> int:
        """Return the number of its resource on a node."""
        return int(node.allocatable.get(self.resource, 0))

    def match(self, node: NodeView) -> bool:
        """Tell whether a node's labels match this profile."""
        return not self.nodes or any(
            node.labels.get(label) in values for label, values in self.nodes.items()
        )

    def fit(self, node: NodeView) -> bool:
        """Tell whether a node has enough GPUs of this profile, free or not."""
        return self.of_node(node) >= self.count and self.match(node)
