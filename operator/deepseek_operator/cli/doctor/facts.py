"""What is known of a cluster, as far as the person who asks may see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deepseek_operator.cli.doctor.finding import Unseen
from deepseek_operator.plan.rolling.capacity import Usage

Object = Mapping[str, Any]
Objects = tuple[Object, ...]


@dataclass(frozen=True)
class Facts:
    """A cluster, seen by one person.

    Attributes:
        now: When it was looked at.
        here: The release of this command.
        namespace: Where the person's resources are.
        version: The API server's, such as v1.34.1.
        served: Names of the optional kinds that there are.
        crd: The CustomResourceDefinition of our kind, None where there is none.
        serves_ours: Whether our kind is served.
        operators: Deployments of the operator.
        leases: Its Leases.
        nodes: All of them.
        usage: What pods hold of nodes with GPUs.
        storage: StorageClasses.
        services: APIServices.
        space: The namespace itself, None where there is none.
        resources: The DeepSeekDeployments in it.
        allowed: What the person may do in it, by `verb resource`.
    """

    now: datetime
    here: str
    namespace: str
    version: str | Unseen
    served: frozenset[str] | Unseen
    crd: Object | Unseen | None
    serves_ours: bool | Unseen
    operators: Objects | Unseen
    leases: Objects | Unseen
    nodes: Objects | Unseen
    usage: Usage | Unseen
    storage: Objects | Unseen
    services: Objects | Unseen
    space: Object | Unseen | None
    resources: Objects | Unseen
    allowed: Mapping[str, bool] | Unseen
