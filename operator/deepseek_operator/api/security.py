"""`spec.security`: who may reach the model."""

from pydantic import Field

from deepseek_operator.api.section import Section


class Peer(Section):
    """Pods that may send requests."""

    namespace: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="Name of a namespace, all of whose pods may send requests.",
    )


class Security(Section):
    """Who may reach the model. Pods of its own namespace always may; nobody else by default."""

    allow_from: list[Peer] = Field(
        default=[],
        max_length=64,
        description=(
            "Further namespaces whose pods may send requests, such as that of an ingress gateway."
        ),
    )
