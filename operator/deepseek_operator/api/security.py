"""`spec.security`: network access and authentication."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.names import Namespace, ObjectName
from deepseek_operator.api.section import Section, rule, validated


class Peer(Section):
    """Pods of another namespace that may send requests."""

    namespace: Namespace = Field(
        description="Namespace whose pods may send requests.",
    )
    service_accounts: list[ObjectName] = Field(
        default=[],
        max_length=16,
        description=(
            "Service accounts of that namespace that may send requests. Requires mtls: STRICT, which "
            "authenticates callers. Default: all pods of the namespace."
        ),
        json_schema_extra={"minItems": 1, "x-kubernetes-list-type": "set"},
    )


class Claim(Section):
    """Claim that a token must contain."""

    name: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9_.:/-]+$",
        description="Name of the claim, such as groups.",
    )
    values: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        min_length=1,
        max_length=32,
        description=(
            "Accepted values. The claim, or one item of it if it is a list, must equal one of them."
        ),
    )


class Jwt(Section):
    """JSON Web Token that each request must carry: `Authorization: Bearer ...`."""

    issuer: str = Field(
        min_length=1, max_length=512, description="Issuer of the tokens: the required claim iss."
    )
    jwks_uri: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^https?://.+$",
        description=(
            "URL of the issuer's public keys (JWKS), which Istio reads. Default: the URL in the "
            "issuer's OpenID discovery document."
        ),
    )
    audiences: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default=[],
        max_length=16,
        description="Accepted audiences: the claim aud must contain one of them. Default: any.",
    )
    claims: list[Claim] = Field(
        default=[],
        max_length=16,
        description="Further claims that the token must contain, all of them. Default: none.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )


class ApiKeys(Section):
    """API keys, one of which each request must carry: `Authorization: Bearer ...`."""

    secret_name: ObjectName = Field(
        description=(
            "Secret in the namespace of the resource with a file of hashed API keys; "
            "docs/guides/zero-trust.md has its format."
        )
    )
    key: str = Field(
        default="keys.json",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key of the Secret that holds the file.",
    )


class Security(Section):
    """Network access and authentication. Pods of the resource's own namespace always have access."""

    model_config = validated(
        rule(
            "(has(self.mtls) && self.mtls == 'STRICT') || !has(self.jwt)",
            "security.jwt needs security.mtls: STRICT, because the mesh validates the tokens: set it,"
            " or use security.apiKeys, which the model server validates",
        ),
        rule(
            "(has(self.mtls) && self.mtls == 'STRICT') || !has(self.allowFrom) ||"
            " !self.allowFrom.exists(peer, has(peer.serviceAccounts))",
            "security.allowFrom[].serviceAccounts needs security.mtls: STRICT, which authenticates"
            " callers: set it, or leave serviceAccounts out to allow the whole namespace",
        ),
        rule(
            "!has(self.jwt) || !has(self.apiKeys)",
            "security.jwt and security.apiKeys exclude each other, because both use the Authorization"
            " header: remove one of them",
        ),
    )

    allow_from: list[Peer] = Field(
        default=[],
        max_length=64,
        description=(
            "Further namespaces whose pods may send requests. The resource's own namespace and the "
            "gateway of spec.routing are always allowed. Default: none."
        ),
    )
    mtls: Literal["STRICT", "PERMISSIVE"] | None = Field(
        default=None,
        description=(
            "Adds the pods to Istio's mesh. STRICT: only callers with a mesh certificate that are "
            "allowed by allowFrom are served. PERMISSIVE: callers without a certificate are served, "
            "too, for migration. Default: the namespace's setting decides on sidecar injection."
        ),
    )
    jwt: Jwt | None = Field(
        default=None,
        description=(
            "JSON Web Token that each request must carry; Istio validates it. Requires mtls: STRICT. "
            "Default: none."
        ),
    )
    api_keys: ApiKeys | None = Field(
        default=None,
        description=(
            "API keys, one of which each request must carry; the bundled model server validates them, "
            "other engines do not support them. Default: none."
        ),
    )
