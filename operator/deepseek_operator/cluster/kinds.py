"""The kinds that the operator reads or writes, and their URLs."""

from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.section import GROUP, KIND, PLURAL, VERSION
from deepseek_operator.plan.labels import SELECTOR


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        group: API group, empty for the core group.
        labels: Label selector of what is listed and watched.
        fields: Field selector of what is listed and watched.
        bookmarks: Whether a quiet watch stream gives a sign of life about every minute. The API
            server keeps no Events in memory, and such kinds have none.
    """

    name: str
    group: str
    version: str
    plural: str
    labels: str = ""
    fields: str = ""
    bookmarks: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of an object, or of a list where no name is given."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (root + scope, self.plural, name, subresource) if part)

    @property
    def query(self) -> dict[str, str]:
        """What restricts a list or watch to what concerns us."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in selectors.items() if value}


RESOURCE = Kind(KIND, GROUP, VERSION, PLURAL)
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments", labels=SELECTOR)
SERVICE = Kind("Service", "", "v1", "services", labels=SELECTOR)
SERVICE_ACCOUNT = Kind("ServiceAccount", "", "v1", "serviceaccounts", labels=SELECTOR)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps", labels=SELECTOR)
POD = Kind("Pod", "", "v1", "pods", labels=SELECTOR)
NODE = Kind("Node", "", "v1", "nodes")
# Only the kubelet's word that a volume can't be mounted: pods say everything else themselves.
EVENT = Kind(
    "Event",
    "",
    "v1",
    "events",
    fields="involvedObject.kind=Pod,reason=FailedMount",
    bookmarks=False,
)

# Who leads of the operator's own processes; never watched.
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")

CHILDREN = (SERVICE_ACCOUNT, CONFIG_MAP, SERVICE, DEPLOYMENT)
WATCHED = (RESOURCE, *CHILDREN, POD, NODE, EVENT)


def kind_of(manifest: dict[str, Any]) -> Kind:
    """The kind of a child's manifest."""
    return next(kind for kind in CHILDREN if kind.name == manifest["kind"])
