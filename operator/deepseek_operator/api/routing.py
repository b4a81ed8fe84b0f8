"""`spec.routing`: route to the model from outside the cluster, and through a mesh."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.names import Namespace, ObjectName
from deepseek_operator.api.section import Section, rule, validated

HOST = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"
# No trailing slash, no "." or ".." segments.
PATH = r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$"
HEADER = r"^[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?$"

Api = Literal["auto", "istio", "gatewayAPI", "none"]


class Header(Section):
    """Header that a request must have."""

    name: str = Field(
        min_length=1,
        max_length=128,
        pattern=HEADER,
        description="Name of the header, case-insensitive.",
    )
    value: str = Field(
        min_length=1, max_length=1024, description="Value of the header, matched exactly."
    )


class Gateway(Section):
    """Gateway of the route: an existing one by name, or one that the operator creates."""

    model_config = validated(
        rule(
            "has(self.name) || (!has(self.namespace) && !has(self.protocol))",
            "routing.gateway.namespace and routing.gateway.protocol describe an existing gateway:"
            " add routing.gateway.name, or leave them out to have a gateway created",
        ),
        rule(
            "!has(self.name) || (!has(self.className) && !has(self.selector))",
            "routing.gateway.name refers to an existing gateway; className and selector configure"
            " one that is created: remove name, or remove className and selector",
        ),
    )

    name: ObjectName | None = Field(
        default=None,
        description=(
            "Name of an existing Gateway, of Istio's API or of Gateway API depending on routing.api. "
            "Default: a gateway with the resource's name is created."
        ),
    )
    namespace: Namespace | None = Field(
        default=None,
        description="Namespace of the existing gateway. Default: the namespace of the resource.",
    )
    protocol: Literal["https", "http"] | None = Field(
        default=None,
        description=(
            "Protocol between clients and the existing gateway, used in status.endpoint. "
            "Default: https."
        ),
    )
    class_name: ObjectName | None = Field(
        default=None,
        description="GatewayClass of the gateway created with Gateway API. Default: istio.",
    )
    selector: dict[str, str] = Field(
        default={},
        description=(
            "Labels of the gateway pods that the gateway created with Istio's API configures. "
            "Default: istio: ingressgateway."
        ),
        json_schema_extra={"maxProperties": 16},
    )
    pods_namespace: Namespace | None = Field(
        default=None,
        description=(
            "Namespace of the gateway's pods, from which the NetworkPolicy allows requests. "
            "Default: the namespace of the existing gateway; for a created one Istio's namespace "
            "with Istio's API, the namespace of the resource with Gateway API."
        ),
    )


class Issuer(Section):
    """Issuer of cert-manager that issues the certificate."""

    name: ObjectName = Field(description="Name of the issuer.")
    kind: Literal["ClusterIssuer", "Issuer"] = Field(
        default="ClusterIssuer",
        description="Kind of the issuer: ClusterIssuer, or Issuer in the resource's namespace.",
    )


class Tls(Section):
    """Certificate of the gateway that the operator creates: from a Secret or from cert-manager."""

    model_config = validated(
        rule(
            "has(self.secretName) != has(self.issuer)",
            "routing.tls needs either secretName (a Secret with tls.crt and tls.key) or issuer (of"
            " cert-manager)",
        )
    )

    secret_name: ObjectName | None = Field(
        default=None,
        description=(
            "Secret of type kubernetes.io/tls with the certificate, in the namespace of the resource "
            "with Gateway API, in the namespace of the gateway's pods with Istio's API."
        ),
    )
    issuer: Issuer | None = Field(
        default=None,
        description=(
            "cert-manager issuer. A Certificate for the hosts is created, and its Secret is in the "
            "namespace of the resource."
        ),
    )


class Affinity(Section):
    """Session affinity: sends related requests to one replica, which has their prefix cached."""

    header: str = Field(
        min_length=1,
        max_length=128,
        pattern=HEADER,
        description=(
            "Header that identifies a session, such as x-session-id. Requests with the same value go "
            "to the same replica while it exists; requests without the header go to any replica."
        ),
    )


class Routing(Section):
    """Route to the model from outside the cluster, in addition to its Service."""

    model_config = validated(
        rule(
            "self.api == 'none' || has(self.hosts)",
            "routing.hosts is required: write the host names of the model, such as v3.example.com,"
            " or set routing.api to none to have only the Service",
        ),
        rule(
            "!has(self.tls) || !has(self.gateway) || !has(self.gateway.name)",
            "routing.tls configures a gateway that is created; an existing gateway has its own"
            " certificate: remove routing.tls or routing.gateway.name",
        ),
        rule(
            "self.api != 'gatewayAPI' || !has(self.affinity)",
            "routing.affinity needs Istio's API, because Gateway API has no stable field for it:"
            " set routing.api to istio, or remove routing.affinity",
        ),
        rule(
            "self.api != 'istio' || !has(self.gateway) || !has(self.gateway.className)",
            "routing.gateway.className is a field of Gateway API: with routing.api istio select the"
            " gateway's pods with routing.gateway.selector",
        ),
        rule(
            "self.api != 'gatewayAPI' || !has(self.gateway) || !has(self.gateway.selector)",
            "routing.gateway.selector is a field of Istio's API: with routing.api gatewayAPI select"
            " the GatewayClass with routing.gateway.className",
        ),
        rule(
            "self.api != 'istio' || !has(self.tls) || !has(self.tls.issuer) ||"
            " (has(self.gateway) && has(self.gateway.selector))",
            "routing.tls.issuer with routing.api istio needs routing.gateway.selector, because Istio"
            " reads the certificate in the namespace of the gateway's pods: select gateway pods that"
            " run in this namespace, or set routing.api to gatewayAPI",
        ),
    )

    api: Api = Field(
        default="auto",
        description=(
            "API of the route. auto: Istio's API if the cluster has it, else Gateway API; Gateway API "
            "is preferred if routing.gateway.className, or routing.tls.issuer without "
            "routing.gateway.selector, is set. none: no route, only the Service."
        ),
    )
    hosts: list[Annotated[str, Field(max_length=253, pattern=HOST)]] = Field(
        default=[],
        max_length=16,
        description=(
            "Host names of the model, such as v3.example.com. Required unless routing.api is none."
        ),
        json_schema_extra={"minItems": 1, "x-kubernetes-list-type": "set"},
    )
    path: str | None = Field(
        default=None,
        max_length=256,
        pattern=PATH,
        description=(
            "Path prefix before /v1 in the URL, such as /v3, so that several models can share a "
            "host. It is removed before the request reaches the model. Default: none."
        ),
    )
    headers: list[Header] = Field(
        default=[],
        max_length=8,
        description=(
            "Headers that a request must have to be routed to this model, so that several models can "
            "share a URL. Default: none."
        ),
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    gateway: Gateway = Field(
        default=Gateway(),
        description="Gateway of the route. Default: one is created with the resource's name.",
    )
    tls: Tls | None = Field(
        default=None,
        description="Certificate of the created gateway. Default: none, it serves plain HTTP.",
    )
    affinity: Affinity | None = Field(
        default=None,
        description=(
            "Session affinity, with Istio's API only. Default: none; each request goes to the less "
            "loaded of two randomly chosen replicas."
        ),
    )
