"""APIService that makes the API server forward requests for custom.metrics.k8s.io to the operator.

An API group belongs to one server: while another APIService serves it, the operator's is deleted,
and it is created again when the other one is gone. Kubernetes deletes it with the ClusterRole of
the installation, because an APIService without a server blocks the deletion of namespaces.
"""

import asyncio
import base64
import datetime
import logging
from collections.abc import Callable, Iterable
from typing import Any

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError, RejectedError
from deepseek_operator.cluster.kinds import API_SERVICE, CLUSTER_ROLE
from deepseek_operator.custom_metrics import front_proxy, serving
from deepseek_operator.custom_metrics.api import GROUP, VERSION
from deepseek_operator.custom_metrics.certificate import Certificate
from deepseek_operator.custom_metrics.serving import Place
from deepseek_operator.plan.state.labels import MANAGED_BY, MANAGER

logger = logging.getLogger(__name__)

Object = dict[str, Any]

NAME = f"{VERSION}.{GROUP}"
LOOK = 10.0  # seconds between two checks
# Until this replica listens.
FIRST_LOOK = 1.0
# Low, so that any other server of the group takes precedence.
PRIORITY = 100


class Registration:
    """Reconciler of the certificate and the APIService.

    Args:
        client: Client that may write while this replica is the leader.
        place: Service and port of the API.
        listens: Returns whether this replica serves the API; until then no APIService is created.
        tell: Called with the other server of the group, empty if there is none.
    """

    def __init__(
        self,
        client: Client,
        place: Place,
        listens: Callable[[], bool],
        tell: Callable[[str], None],
    ):
        self._client = client
        self._place = place
        self._listens = listens
        self._tell = tell
        self._logged = ""

    async def keep(self) -> None:
        """Reconcile periodically, forever."""
        while True:
            try:
                await self.look(datetime.datetime.now(datetime.UTC))
            except (ApiError, ValueError) as error:
                self._say(f"Could not register the custom metrics API, will retry: {error}")
            await asyncio.sleep(LOOK if self._listens() else FIRST_LOOK)

    async def look(self, now: datetime.datetime) -> None:
        """Reconcile once.

        Raises:
            ApiError: The API server could not be reached or rejects a write.
        """
        services = await self._client.select(API_SERVICE)
        group = [item for item in services if item["spec"].get("group") == GROUP]
        ours = next((item for item in group if is_ours(item, self._place)), None)
        other = owner(group, self._place)
        self._tell(other)
        if other:
            self._say(f"{GROUP} is served by {other}, so the operator does not serve it")
            if ours is not None:
                await self._client.delete(API_SERVICE, ours)
            return
        if await front_proxy.read(self._client) is None:
            self._say(
                f"Can't serve {GROUP}: the API server has no aggregation layer "
                f"(--requestheader-client-ca-file). Enable it, or set scaling.metrics: keda."
            )
            return
        certificate = await serving.keep(self._client, self._place, now)
        if not self._listens():
            return
        wanted = manifest(self._place, certificate, await self._owner())
        if ours is None or differs(wanted, ours):
            await self._client.apply(API_SERVICE, wanted)
        self._say(f"{GROUP} is served by the operator, through {self._place.host}")

    async def _owner(self) -> Object | None:
        if not self._place.cluster_role:
            return None
        try:
            return await self._client.get(CLUSTER_ROLE, "", self._place.cluster_role)
        except RejectedError:
            return None

    def _say(self, sentence: str) -> None:
        """Log a message unless it repeats the last one."""
        if sentence != self._logged:
            self._logged = sentence
            logger.info("%s", sentence)


def is_ours(service: Object, place: Place) -> bool:
    """Return whether an APIService refers to the operator's Service."""
    target = service["spec"].get("service") or {}
    return (target.get("namespace"), target.get("name")) == (place.namespace, place.service)


def owner(group: Iterable[Object], place: Place) -> str:
    """Return the other server of the group as namespace/name of its Service, empty if none."""
    for service in group:
        if not is_ours(service, place):
            target = service["spec"].get("service")
            if target:
                return f"{target['namespace']}/{target['name']}"
            return f"APIService {service['metadata']['name']}"
    return ""


def manifest(place: Place, certificate: Certificate, cluster_role: Object | None) -> Object:
    """Return the operator's APIService."""
    metadata: Object = {"name": NAME, "labels": {MANAGED_BY: MANAGER}}
    if cluster_role is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "name": cluster_role["metadata"]["name"],
                "uid": cluster_role["metadata"]["uid"],
            }
        ]
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": metadata,
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": PRIORITY,
            "versionPriority": PRIORITY,
            "service": {"namespace": place.namespace, "name": place.service, "port": place.port},
            "caBundle": base64.b64encode(certificate.authorities).decode(),
        },
    }


def differs(wanted: Object, live: Object) -> bool:
    """Return whether the live APIService differs from the desired one."""
    owners = wanted["metadata"].get("ownerReferences", [])
    known = {item["uid"] for item in live["metadata"].get("ownerReferences", [])}
    return any(live["spec"].get(key) != value for key, value in wanted["spec"].items()) or any(
        item["uid"] not in known for item in owners
    )
