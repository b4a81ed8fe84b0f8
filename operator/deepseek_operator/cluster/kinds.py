"""The kinds that the operator reads or writes, and their URLs."""

from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.section import GROUP, KIND, PLURAL, VERSION
from deepseek_operator.plan.state.labels import REVISION, SELECTOR, gang_name


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        group: API group, empty for the core group.
        labels: Label selector of lists and watches.
        fields: Field selector of lists and watches.
        optional: Whether a cluster may lack it, and gain or lose it at any time.
        bookmarks: Whether a quiet watch stream gets a bookmark about every minute. Kinds outside
            the API server's watch cache, such as Events, get none.
        alias: Name in the operator if another group has a kind of the same name.
    """

    name: str
    group: str
    version: str
    plural: str
    labels: str = ""
    fields: str = ""
    optional: bool = False
    bookmarks: bool = True
    alias: str = ""

    @property
    def called(self) -> str:
        """Unique name among all kinds."""
        return self.alias or self.name

    @property
    def query(self) -> dict[str, str]:
        """Query parameters that restrict a list or watch to the objects of the operator."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in selectors.items() if value}

    @property
    def discovery(self) -> str:
        """URL path that lists the kinds of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of an object, or of a list if no name is given."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(
            part for part in (self.discovery + scope, self.plural, name, subresource) if part
        )


RESOURCE = Kind(KIND, GROUP, VERSION, PLURAL)
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments", labels=SELECTOR)
# Only those of the operator: other controllers put the labels of their pods on theirs.
CONTROLLER_REVISION = Kind(
    "ControllerRevision", "apps", "v1", "controllerrevisions", labels=f"{SELECTOR},{REVISION}"
)
SERVICE = Kind("Service", "", "v1", "services", labels=SELECTOR)
SERVICE_ACCOUNT = Kind("ServiceAccount", "", "v1", "serviceaccounts", labels=SELECTOR)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps", labels=SELECTOR)
AUTOSCALER = Kind(
    "HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers", labels=SELECTOR
)
SCALED_OBJECT = Kind(
    "ScaledObject", "keda.sh", "v1alpha1", "scaledobjects", labels=SELECTOR, optional=True
)
AUTOSCALERS = (AUTOSCALER, SCALED_OBJECT)
POD = Kind("Pod", "", "v1", "pods", labels=SELECTOR)
NODE = Kind("Node", "", "v1", "nodes")
# Only the kubelet's reports that a volume can't be mounted: pods carry everything else themselves.
EVENT = Kind(
    "Event",
    "",
    "v1",
    "events",
    fields="involvedObject.kind=Pod,reason=FailedMount",
    bookmarks=False,
)

# Leader election of the operator; not watched.
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")

# For the custom metrics API; not watched.
SECRET = Kind("Secret", "", "v1", "secrets")
API_SERVICE = Kind("APIService", "apiregistration.k8s.io", "v1", "apiservices")
CLUSTER_ROLE = Kind("ClusterRole", "rbac.authorization.k8s.io", "v1", "clusterroles")
ACCESS_REVIEW = Kind("SubjectAccessReview", "authorization.k8s.io", "v1", "subjectaccessreviews")

DISRUPTION_BUDGET = Kind(
    "PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", labels=SELECTOR
)
NETWORK_POLICY = Kind(
    "NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", labels=SELECTOR
)
POD_MONITOR = Kind(
    "PodMonitor", "monitoring.coreos.com", "v1", "podmonitors", labels=SELECTOR, optional=True
)
LEADER_WORKER_SET = Kind(
    "LeaderWorkerSet",
    "leaderworkerset.x-k8s.io",
    "v1",
    "leaderworkersets",
    labels=SELECTOR,
    optional=True,
)
LOCAL_QUEUE = Kind("LocalQueue", "kueue.x-k8s.io", "v1beta2", "localqueues", optional=True)


def _optional(name: str, group: str, plural: str, alias: str = "") -> Kind:
    return Kind(name, group, "v1", plural, labels=SELECTOR, optional=True, alias=alias)


VIRTUAL_SERVICE = _optional("VirtualService", "networking.istio.io", "virtualservices")
DESTINATION_RULE = _optional("DestinationRule", "networking.istio.io", "destinationrules")
ISTIO_GATEWAY = _optional("Gateway", "networking.istio.io", "gateways", alias="IstioGateway")
PEER_AUTHENTICATION = _optional("PeerAuthentication", "security.istio.io", "peerauthentications")
REQUEST_AUTHENTICATION = _optional(
    "RequestAuthentication", "security.istio.io", "requestauthentications"
)
AUTHORIZATION_POLICY = _optional(
    "AuthorizationPolicy", "security.istio.io", "authorizationpolicies"
)
HTTP_ROUTE = _optional("HTTPRoute", "gateway.networking.k8s.io", "httproutes")
GATEWAY = _optional("Gateway", "gateway.networking.k8s.io", "gateways")
CERTIFICATE = _optional("Certificate", "cert-manager.io", "certificates")

CHILDREN = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SERVICE,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    DEPLOYMENT,
    LEADER_WORKER_SET,
    AUTOSCALER,
    SCALED_OBJECT,
    POD_MONITOR,
    CONTROLLER_REVISION,
    VIRTUAL_SERVICE,
    DESTINATION_RULE,
    ISTIO_GATEWAY,
    PEER_AUTHENTICATION,
    REQUEST_AUTHENTICATION,
    AUTHORIZATION_POLICY,
    HTTP_ROUTE,
    GATEWAY,
    CERTIFICATE,
)
# Optional kinds on which decisions depend; the children among them are watched while served.
OPTIONAL = (*(kind for kind in CHILDREN if kind.optional), LOCAL_QUEUE)
# Kinds that every cluster with the CRD has.
WATCHED = (RESOURCE, *(kind for kind in CHILDREN if not kind.optional), POD, NODE, EVENT)


# Kinds whose conditions other controllers set.
ANSWERED = (CERTIFICATE, GATEWAY, HTTP_ROUTE)


def name_of(kind: Kind, resource: str) -> str:
    """Return the name of a resource's child of a kind."""
    return gang_name(resource) if kind is LEADER_WORKER_SET else resource


def kind_of(manifest: dict[str, Any]) -> Kind:
    """Return the kind of a child's manifest."""
    group = manifest["apiVersion"].rpartition("/")[0]
    return next(kind for kind in CHILDREN if kind.name == manifest["kind"] and kind.group == group)
