"""What the operator's own installation decides for all resources."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Defaults that come from the installation of the operator.

    Attributes:
        server_image: Image of the bundled model server.
        server_pull_policy: Image pull policy of the model server; empty: Kubernetes' default.
        hub_endpoint: Mirror of the model hub; empty: the public one.
    """

    server_image: str
    server_pull_policy: str = ""
    hub_endpoint: str = ""
