"""Facts about a cluster, as far as the user may read them."""

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
    """The state of a cluster as one user sees it.

    Attributes:
        now: Time of the observation.
        here: Release of this command.
        namespace: Namespace of the user's resources.
        version: Version of the API server, such as v1.34.1.
        served: Names of the optional kinds that are served.
        crd: The CustomResourceDefinition of DeepSeekDeployment; None if it is not installed.
        serves_ours: True if DeepSeekDeployment is served.
        operators: Deployments of the operator.
        leases: Leases of the operator.
        nodes: All nodes.
        usage: Resources that pods hold on the nodes with GPUs.
        storage: StorageClasses.
        services: APIServices.
        space: The Namespace object; None if it does not exist.
        resources: The DeepSeekDeployments in the namespace.
        allowed: The user's permissions in the namespace, by `verb resource`.
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
