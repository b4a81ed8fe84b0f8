"""Authorization of clients: the plan, independent of the API that enforces it.

NetworkPolicies admit namespaces. Only a mesh can check service accounts and tokens, so a resource that
requires them is refused without a mesh instead of being served with partial protection.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from deepseek_operator.api.security import ApiKeys, Security

AUTHORIZATION_POLICY, DESTINATION_RULE = "AuthorizationPolicy", "DestinationRule"

# The sidecar's port for health and metrics. It is excluded from mTLS, so a client needs no
# certificate (https://istio.io/latest/docs/ops/deployment/application-requirements/).
STATUS_PORT = 15020
METRICS_PATH = "/stats/prometheus"
# The port of istiod that provides certificates and configuration to sidecars.
CONTROL_PORT = 15012
KEYS_MOUNT = "/etc/deepseek-keys"
# The paths of a model server that the mesh admits.
API_PATHS = ("/v1/*",)


@dataclass(frozen=True)
class Caller:
    """Pods that may send requests.

    Attributes:
        namespace: Their namespace; None: the resource's own.
        accounts: Their service accounts; empty allows all.
    """

    namespace: str | None
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """The JWT that a request must carry.

    Attributes:
        claims: Required claims: their names, each with the accepted values.
    """

    issuer: str
    jwks_uri: str | None = None
    audiences: tuple[str, ...] = ()
    claims: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class AuthorizationPlan:
    """The authorization plan of a resource.

    Attributes:
        mtls: mTLS mode of the pods; None: the operator does not decide about a mesh.
        enforced: Whether the cluster has the mesh's API, so that policies can be created.
        steered: Whether the cluster has the API for connection settings of mesh clients.
        callers: Clients that may send requests, the own namespace first.
        token: JWT that each request must carry, checked by the mesh.
        keys: Secret with the accepted API keys, checked by the model server.
    """

    mtls: Literal["STRICT", "PERMISSIVE"] | None = None
    enforced: bool = False
    steered: bool = False
    callers: tuple[Caller, ...] = (Caller(None),)
    token: Token | None = None
    keys: ApiKeys | None = None

    @property
    def in_mesh(self) -> bool:
        """Whether the spec requires a sidecar in the pods."""
        return self.mtls is not None

    @property
    def meshed(self) -> bool:
        """Whether new pods get a sidecar."""
        return self.in_mesh and self.enforced

    @property
    def policies(self) -> bool:
        """Whether the mesh enforces authorization policies."""
        return self.meshed and self.mtls == "STRICT"


def authorization_plan(
    security: Security, gateway: Iterable[str], served: frozenset[str]
) -> AuthorizationPlan:
    """Return the authorization plan of a resource.

    Args:
        security: `spec.security`.
        gateway: Namespaces of the pods of the gateway that forwards requests.
        served: Names of the optional kinds that the cluster has.
    """
    named: dict[str, tuple[str, ...] | None] = {}
    for peer in security.allow_from:
        if not peer.service_accounts:
            named[peer.namespace] = None  # all of it
        elif (before := named.get(peer.namespace, ())) is not None:
            named[peer.namespace] = tuple(sorted({*before, *peer.service_accounts}))
    for namespace in gateway:
        named.setdefault(namespace, None)
    callers = [Caller(namespace, accounts or ()) for namespace, accounts in sorted(named.items())]
    return AuthorizationPlan(
        mtls=security.mtls,
        enforced=AUTHORIZATION_POLICY in served,
        steered=DESTINATION_RULE in served,
        callers=(Caller(None), *callers),
        token=_token(security),
        keys=security.api_keys,
    )


def _token(security: Security) -> Token | None:
    jwt = security.jwt
    if jwt is None:
        return None
    claims = tuple((claim.name, tuple(claim.values)) for claim in jwt.claims)
    return Token(jwt.issuer, jwt.jwks_uri, tuple(jwt.audiences), claims)
