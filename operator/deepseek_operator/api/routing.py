"""`spec.routing`: how the model is reached from outside the cluster, and through a mesh."""

from typing import Annotated, Literal

from pydantic import Field

from deepseek_operator.api.names import Namespace, ObjectName
from deepseek_operator.api.section import Section, rule, validated

HOST = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"
# Without a slash at the end, and without "." and ".." as parts.
PATH = r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$"
HEADER = r"^[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?$"

Api = Literal["auto", "istio", "gatewayAPI", "none"]


class Header(Section):
    """A header that requests must have."""

    name: str = Field(
        min_length=1, max_length=128, pattern=HEADER, description="Name, in any case."
    )
    value: str = Field(min_length=1, max_length=1024, description="Its exact value.")


class Gateway(Section):
    """Through which gateway requests come: one that exists, or one that is made."""

    model_config = validated(
        rule(
            "has(self.name) || (!has(self.namespace) && !has(self.protocol))",
            "routing.gateway.namespace and routing.gateway.protocol are about a gateway that exists:"
            " add its name, or leave them out to have one made",
        ),
        rule(
            "!has(self.name) || (!has(self.className) && !has(self.selector))",
            "routing.gateway takes the name of a gateway that exists, or className and selector for"
            " one that is made, not both",
        ),
    )

    name: ObjectName | None = Field(
        default=None,
        description=(
            "Name of a gateway that exists: of kind Gateway of Istio's API or of Gateway API, "
            "whichever routing.api says. Default: one is made, of the resource's name."
        ),
    )
    namespace: Namespace | None = Field(
        default=None, description="Namespace of that gateway. Default: that of the resource."
    )
    protocol: Literal["https", "http"] | None = Field(
        default=None,
        description="What that gateway speaks with clients, for status.endpoint. Default: https.",
    )
    class_name: ObjectName | None = Field(
        default=None,
        description=("GatewayClass of the gateway that is made with Gateway API. Default: istio."),
    )
    selector: dict[str, str] = Field(
        default={},
        description=(
            "Labels of the gateway pods that the gateway made with Istio's API configures. "
            "Default: istio: ingressgateway."
        ),
        json_schema_extra={"maxProperties": 16},
    )
    pods_namespace: Namespace | None = Field(
        default=None,
        description=(
            "Namespace of the gateway's pods, which are let in to the model. Default: that of a "
            "gateway that exists; of one that is made, with Istio's API the namespace of Istio, "
            "with Gateway API that of the resource."
        ),
    )


class Issuer(Section):
    """What of cert-manager issues the certificate."""

    name: ObjectName = Field(description="Name of the issuer.")
    kind: Literal["ClusterIssuer", "Issuer"] = Field(
        default="ClusterIssuer", description="ClusterIssuer, or an Issuer of the same namespace."
    )


class Tls(Section):
    """The certificate of the gateway that is made: from a Secret, or from cert-manager."""

    model_config = validated(
        rule(
            "has(self.secretName) != has(self.issuer)",
            "routing.tls needs secretName (a Secret with tls.crt and tls.key) or issuer (of"
            " cert-manager), not both",
        )
    )

    secret_name: ObjectName | None = Field(
        default=None,
        description=(
            "Secret of type kubernetes.io/tls: with Gateway API in the namespace of the resource, "
            "with Istio's API where the gateway's pods run."
        ),
    )
    issuer: Issuer | None = Field(
        default=None,
        description=(
            "Issuer of cert-manager: a Certificate for the hosts is made, and kept in a Secret of "
            "the resource's namespace."
        ),
    )


class Affinity(Section):
    """Sends requests that belong together to the same replica, which has their prefix cached."""

    header: str = Field(
        min_length=1,
        max_length=128,
        pattern=HEADER,
        description=(
            "Requests with the same value of this header, such as x-session-id, go to the same "
            "replica as long as it is there; those without it to any."
        ),
    )


class Routing(Section):
    """How the model is reached from outside the cluster. The Service is there in any case."""

    model_config = validated(
        rule(
            "self.api == 'none' || has(self.hosts)",
            "routing.hosts is needed: the names under which clients reach the model, such as"
            " v3.example.com; or set routing.api to none for a Service alone",
        ),
        rule(
            "!has(self.tls) || !has(self.gateway) || !has(self.gateway.name)",
            "routing.tls is for a gateway that is made; one that exists has its own certificate:"
            " leave routing.tls or routing.gateway.name out",
        ),
        rule(
            "self.api != 'gatewayAPI' || !has(self.affinity)",
            "routing.affinity needs Istio's API: Gateway API has no such field that is stable;"
            " set routing.api to istio, or leave routing.affinity out",
        ),
        rule(
            "self.api != 'istio' || !has(self.gateway) || !has(self.gateway.className)",
            "routing.gateway.className belongs to Gateway API; with routing.api istio choose the"
            " gateway's pods by routing.gateway.selector",
        ),
        rule(
            "self.api != 'gatewayAPI' || !has(self.gateway) || !has(self.gateway.selector)",
            "routing.gateway.selector belongs to Istio's API; with routing.api gatewayAPI choose"
            " the kind of gateway by routing.gateway.className",
        ),
        rule(
            "self.api != 'istio' || !has(self.tls) || !has(self.tls.issuer) ||"
            " (has(self.gateway) && has(self.gateway.selector))",
            "routing.tls.issuer with routing.api istio needs routing.gateway.selector: Istio reads"
            " the certificate where the gateway's pods run, so they must run in this namespace;"
            " with routing.api gatewayAPI they do by themselves",
        ),
    )

    api: Api = Field(
        default="auto",
        description=(
            "By which API routes are made. auto: Istio's, where the cluster has it, else Gateway "
            "API, where it has that; Gateway API first where the certificate comes from "
            "routing.tls.issuer or routing.gateway.className is set. none: a Service alone."
        ),
    )
    hosts: list[Annotated[str, Field(max_length=253, pattern=HOST)]] = Field(
        default=[],
        max_length=16,
        description="Names under which clients reach the model, such as v3.example.com.",
        json_schema_extra={"minItems": 1, "x-kubernetes-list-type": "set"},
    )
    path: str | None = Field(
        default=None,
        max_length=256,
        pattern=PATH,
        description=(
            "What comes before /v1 in the URL, such as /v3, so that models share a host; the model "
            "does not see it. Default: nothing."
        ),
    )
    headers: list[Header] = Field(
        default=[],
        max_length=8,
        description=(
            "Headers that a request must have to reach this model, so that models share a URL."
        ),
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    gateway: Gateway = Field(
        default=Gateway(), description="Through which gateway requests come. Default: one is made."
    )
    tls: Tls | None = Field(
        default=None,
        description="Certificate of the gateway that is made. Absent: it speaks plain HTTP.",
    )
    affinity: Affinity | None = Field(
        default=None,
        description=(
            "Sends requests that belong together to the same replica. Default: each goes to the "
            "replica with the fewest requests of two that are drawn by lot."
        ),
    )
