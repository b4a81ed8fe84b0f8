"""Secret with the server's certificate: created and renewed by one replica, read by all."""

import base64
import binascii
import datetime
from dataclasses import dataclass
from typing import Any

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ConflictError
from deepseek_operator.cluster.kinds import SECRET
from deepseek_operator.custom_metrics import certificate
from deepseek_operator.custom_metrics.certificate import Certificate
from deepseek_operator.plan.state.labels import MANAGED_BY, MANAGER

AUTHORITIES, CHAIN, KEY = "ca.crt", "tls.crt", "tls.key"


@dataclass(frozen=True)
class Place:
    """Service of the API, in the operator's namespace.

    Attributes:
        port: Port of the Service and of the operator's pod.
        cluster_role: ClusterRole that owns the APIService; empty: it has no owner.
    """

    namespace: str
    service: str
    port: int
    cluster_role: str = ""

    @property
    def host(self) -> str:
        """Host name that the API server expects in the certificate."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def secret(self) -> str:
        """Name of the Secret."""
        return f"{self.service}-tls"


async def read(client: Client, place: Place) -> Certificate | None:
    """Read the certificate, None if there is none yet or its Secret is invalid.

    Raises:
        ApiError: The API server could not be reached.
    """
    secret = await client.get(SECRET, place.namespace, place.secret)
    return _certificate(secret) if secret else None


async def keep(client: Client, place: Place, now: datetime.datetime) -> Certificate:
    """Return the certificate, created if there is none and renewed if it is due.

    Raises:
        ApiError: The API server could not be reached.
    """
    secret = await client.get(SECRET, place.namespace, place.secret)
    present = _certificate(secret) if secret else None
    if present and present.serves(place.host, now):
        return present
    made = certificate.make(place.host, now, present)
    manifest = _manifest(place, made)
    try:
        if secret is None:
            await client.create(SECRET, manifest)
        else:
            manifest["metadata"]["resourceVersion"] = secret["metadata"]["resourceVersion"]
            manifest["type"] = secret.get("type", manifest["type"])
            await client.replace(SECRET, manifest)
    except ConflictError:
        # Another replica was faster; its certificate is used.
        return await read(client, place) or made
    return made


def _certificate(secret: dict[str, Any]) -> Certificate | None:
    data = secret.get("data") or {}
    try:
        parts = [base64.b64decode(data[name], validate=True) for name in (AUTHORITIES, CHAIN, KEY)]
    except (KeyError, binascii.Error):
        return None
    return Certificate(*parts)


def _manifest(place: Place, made: Certificate) -> dict[str, Any]:
    parts = {AUTHORITIES: made.authorities, CHAIN: made.chain, KEY: made.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": place.secret,
            "namespace": place.namespace,
            "labels": {MANAGED_BY: MANAGER},
        },
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(part).decode() for name, part in parts.items()},
    }
