"""Who has to prove what to reach a model: the decision, apart from the words of any policy.

NetworkPolicies let in namespaces. What goes further, service accounts and tokens, only a mesh can
check, so a resource that asks for it is refused where there is none, and not served half protected.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from deepseek_operator.api.security import ApiKeys, Security

AUTHORIZATION_POLICY, DESTINATION_RULE = "AuthorizationPolicy", "DestinationRule"

# Where a sidecar says how it and the program beside it are; it takes no part in the mesh, so a
# caller needs no certificate (https://istio.io/latest/docs/ops/deployment/application-requirements/).
STATUS_PORT = 15020
METRICS_PATH = "/stats/prometheus"
# Where a sidecar gets its certificate and what it has to know.
CONTROL_PORT = 15012
KEYS_MOUNT = "/etc/deepseek-keys"
# What the mesh lets in, of all that a model server answers.
API_PATHS = ("/v1/*",)


@dataclass(frozen=True)
class Caller:
    """Who may send requests.

    Attributes:
        namespace: Of its pods; None: the resource's own.
        accounts: Service accounts of these pods; none: whatever they have.
    """

    namespace: str | None
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """The token that a request must bring.

    Attributes:
        claims: What it must say: names of claims, and values of which one is needed.
    """

    issuer: str
    jwks_uri: str | None = None
    audiences: tuple[str, ...] = ()
    claims: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Trust:
    """What callers have to prove.

    Attributes:
        mtls: How strict the pods are in the mesh; None: whether they are in one is not ours to say.
        enforced: Whether the cluster has the mesh's API, so that policies can be made.
        steered: Whether it has that for how callers in the mesh use connections.
        callers: Who may send requests, the own namespace first.
        token: What each request must bring, checked by the mesh.
        keys: Secret with the keys of which a request must bring one, checked by the model server.
    """

    mtls: Literal["STRICT", "PERMISSIVE"] | None = None
    enforced: bool = False
    steered: bool = False
    callers: tuple[Caller, ...] = (Caller(None),)
    token: Token | None = None
    keys: ApiKeys | None = None

    @property
    def in_mesh(self) -> bool:
        """Whether the pods shall have a sidecar."""
        return self.mtls is not None

    @property
    def meshed(self) -> bool:
        """Whether new pods get a sidecar."""
        return self.in_mesh and self.enforced

    @property
    def policies(self) -> bool:
        """Whether the mesh is told who is let in."""
        return self.meshed and self.mtls == "STRICT"


def trust(security: Security, gateway: Iterable[str], served: frozenset[str]) -> Trust:
    """What callers have to prove.

    Args:
        security: What the resource says.
        gateway: Namespaces of a gateway's pods that requests come through.
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
    return Trust(
        mtls=security.mtls,
        enforced=AUTHORIZATION_POLICY in served,
        steered=DESTINATION_RULE in served,
        callers=(Caller(None), *callers),
        token=_token(security),
        keys=security.api_keys,
    )


def _token(security: Security) -> Token | None:
    said = security.jwt
    if said is None:
        return None
    claims = tuple((claim.name, tuple(claim.values)) for claim in said.claims)
    return Token(said.issuer, said.jwks_uri, tuple(said.audiences), claims)
