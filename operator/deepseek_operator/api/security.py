"""`spec.security`: who may reach the model."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.names import Namespace, ObjectName
from deepseek_operator.api.section import Section, rule, validated


class Peer(Section):
    """Pods that may send requests."""

    namespace: Namespace = Field(
        description="Name of a namespace whose pods may send requests.",
    )
    service_accounts: list[ObjectName] = Field(
        default=[],
        max_length=16,
        description=(
            "Service accounts of that namespace whose pods may, where not all of them shall. "
            "Needs mtls: STRICT, which proves who a caller is."
        ),
        json_schema_extra={"minItems": 1, "x-kubernetes-list-type": "set"},
    )


class Claim(Section):
    """Something that a token must say."""

    name: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9_.:/-]+$",
        description="Name of the claim, such as groups.",
    )
    values: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        min_length=1,
        max_length=32,
        description="One of these must be its value, or be in it where it is a list.",
    )


class Jwt(Section):
    """Requests must bring a token of this issuer: `Authorization: Bearer ...`."""

    issuer: str = Field(
        min_length=1, max_length=512, description="Who issues the tokens: their claim iss."
    )
    jwks_uri: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^https?://.+$",
        description=(
            "URL of the issuer's public keys, which Istio reads. Default: what the issuer's "
            "OpenID discovery document says."
        ),
    )
    audiences: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default=[],
        max_length=16,
        description="One of these must be in the claim aud. Default: any.",
    )
    claims: list[Claim] = Field(
        default=[],
        max_length=16,
        description="What else the token must say: all of these.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )


class ApiKeys(Section):
    """Requests must bring one of these keys: `Authorization: Bearer ...`."""

    secret_name: ObjectName = Field(
        description="Secret of the namespace, with a file of hashed keys (docs/guides/zero-trust.md)."
    )
    key: str = Field(
        default="keys.json",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key of the Secret that has the file.",
    )


class Security(Section):
    """Who may reach the model. Pods of its own namespace always may; nobody else by default."""

    model_config = validated(
        rule(
            "(has(self.mtls) && self.mtls == 'STRICT') || !has(self.jwt)",
            "security.jwt needs security.mtls: STRICT, because it is the mesh that checks tokens;"
            " or use security.apiKeys, which the model server itself checks",
        ),
        rule(
            "(has(self.mtls) && self.mtls == 'STRICT') || !has(self.allowFrom) ||"
            " !self.allowFrom.exists(peer, has(peer.serviceAccounts))",
            "security.allowFrom[].serviceAccounts needs security.mtls: STRICT, which proves who a"
            " caller is; or leave serviceAccounts out to let the whole namespace in",
        ),
        rule(
            "!has(self.jwt) || !has(self.apiKeys)",
            "security takes jwt or apiKeys, not both: a request has one Authorization header",
        ),
    )

    allow_from: list[Peer] = Field(
        default=[],
        max_length=64,
        description=(
            "Further namespaces whose pods may send requests, such as that of an ingress gateway. "
            "The gateway of spec.routing may in any case."
        ),
    )
    mtls: Literal["STRICT", "PERMISSIVE"] | None = Field(
        default=None,
        description=(
            "Puts the pods into Istio's mesh. STRICT: only callers with a certificate of the mesh "
            "are answered, and only those that may. PERMISSIVE: others, too, for a move into the "
            "mesh. Default: what is in the mesh is left to the namespace."
        ),
    )
    jwt: Jwt | None = Field(
        default=None, description="Requests must bring a token of this issuer. Default: none."
    )
    api_keys: ApiKeys | None = Field(
        default=None,
        description="Requests must bring one of these keys. Bundled engine only. Default: none.",
    )
