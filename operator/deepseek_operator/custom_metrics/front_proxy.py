"""Who asks, as the API server says it: it passes requests on with a certificate of its own.

The ConfigMap extension-apiserver-authentication, which every API server keeps up to date, tells
which authority has signed that certificate, which names it may have, and in which headers the
user stands. Nobody but the API server is served.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import CONFIG_MAP

AUTHENTICATED = "system:authenticated"
NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


class StrangerError(Exception):
    """Whoever asks is not the API server, or it does not say for whom it asks."""


@dataclass(frozen=True)
class User:
    """For whom the API server asks, in the terms of an access review."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class FrontProxy:
    """How the API server shows who it is.

    Attributes:
        authority: Certificates of the authority, PEM.
        names: Common names that the certificate may have; empty: any.
        user_headers: Where the user's name may stand.
        uid_headers: Where the user's uid may stand.
        group_headers: Where the user's groups may stand.
        extra_prefixes: What headers with further attributes start with, lower case.
    """

    authority: str
    names: frozenset[str]
    user_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]

    @classmethod
    def of(cls, config_map: Mapping[str, Any]) -> "FrontProxy | None":
        """What the ConfigMap says, None where the API server passes no requests on."""
        data = config_map.get("data", {})
        if not data.get("requestheader-client-ca-file"):
            return None

        def listed(key: str) -> tuple[str, ...]:
            return tuple(json.loads(data.get(f"requestheader-{key}") or "[]"))

        return cls(
            authority=data["requestheader-client-ca-file"],
            names=frozenset(listed("allowed-names")),
            user_headers=listed("username-headers"),
            uid_headers=listed("uid-headers"),
            group_headers=listed("group-headers"),
            extra_prefixes=tuple(
                prefix.lower() for prefix in listed("extra-headers-prefix") if prefix
            ),
        )

    def user(
        self, certificate: Mapping[str, Any] | None, headers: Iterable[tuple[str, str]]
    ) -> User:
        """For whom is asked.

        Args:
            certificate: What TLS has verified against `authority`, None where there was none.
            headers: Of the request.

        Raises:
            StrangerError: The certificate is missing or of somebody else, or no user is named.
        """
        if not certificate:
            raise StrangerError("Only the API server may ask here: no certificate was shown.")
        common_name = _common_name(certificate)
        if self.names and common_name not in self.names:
            raise StrangerError(f"Only the API server may ask here, not {common_name}.")
        by_name: dict[str, list[str]] = {}
        for name, value in headers:
            by_name.setdefault(name.lower(), []).append(value)
        names = _first(by_name, self.user_headers)
        if not names:
            raise StrangerError("The API server does not say for whom it asks.")
        uids = _first(by_name, self.uid_headers)
        groups = [value for name in self.group_headers for value in by_name.get(name.lower(), [])]
        # The API server leaves it out where it asks for itself; Kubernetes' own extension servers
        # add it too, and who may look at what there is depends on it.
        if AUTHENTICATED not in groups:
            groups.append(AUTHENTICATED)
        return User(
            name=names[0],
            uid=uids[0] if uids else "",
            groups=tuple(groups),
            extra=tuple(
                (unquote(name.removeprefix(prefix)), tuple(values))
                for name, values in sorted(by_name.items())
                for prefix in self.extra_prefixes
                if name.startswith(prefix)
            ),
        )


def _first(by_name: Mapping[str, list[str]], headers: Iterable[str]) -> list[str]:
    found = ([value for value in by_name.get(name.lower(), []) if value] for name in headers)
    return next((values for values in found if values), [])


def _common_name(certificate: Mapping[str, Any]) -> str:
    names = [
        value
        for attributes in certificate.get("subject", ())
        for key, value in attributes
        if key == "commonName"
    ]
    return str(names[-1]) if names else ""


async def read(client: Client) -> FrontProxy | None:
    """What the API server says about itself, None where it passes no requests on.

    Raises:
        ApiError: It could not be asked.
    """
    config_map = await client.get(CONFIG_MAP, NAMESPACE, NAME)
    return FrontProxy.of(config_map) if config_map else None
