"""Authentication of requests that the API server forwards with its front proxy certificate.

The ConfigMap extension-apiserver-authentication, which the API server keeps up to date, has the
authority that signs this certificate, its allowed names, and the headers with the user. Requests
of other clients are rejected.
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
    """Raised when a client is not the API server, or its request names no user."""


@dataclass(frozen=True)
class User:
    """User on whose behalf the API server forwards a request, with the fields of an access review."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class FrontProxy:
    """Configuration of the API server's front proxy.

    Attributes:
        authority: Certificates of the authority, PEM.
        names: Allowed common names of the certificate; empty: any.
        user_headers: Headers that may have the user's name.
        uid_headers: Headers that may have the user's uid.
        group_headers: Headers that may have the user's groups.
        extra_prefixes: Prefixes of headers with further attributes, lower case.
    """

    authority: str
    names: frozenset[str]
    user_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]

    @classmethod
    def of(cls, config_map: Mapping[str, Any]) -> "FrontProxy | None":
        """Return the configuration in the ConfigMap, None if the API server forwards no requests."""
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
        """Return the user of a request.

        Args:
            certificate: Client certificate that TLS verified against `authority`, None without one.
            headers: Headers of the request.

        Raises:
            StrangerError: The certificate is missing or not the API server's, or no user is named.
        """
        if not certificate:
            raise StrangerError(
                "Only the API server may call this API: the request has no client certificate."
            )
        common_name = _common_name(certificate)
        if self.names and common_name not in self.names:
            raise StrangerError(f"Only the API server may call this API, not {common_name}.")
        by_name: dict[str, list[str]] = {}
        for name, value in headers:
            by_name.setdefault(name.lower(), []).append(value)
        names = _first(by_name, self.user_headers)
        if not names:
            raise StrangerError(
                "The request names no user: none of the API server's user headers is set."
            )
        uids = _first(by_name, self.uid_headers)
        groups = [value for name in self.group_headers for value in by_name.get(name.lower(), [])]
        # The API server omits the group in its own requests. Kubernetes' extension servers add it too,
        # and access to discovery depends on it.
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
    """Read the front proxy's configuration, None if the API server forwards no requests.

    Raises:
        ApiError: The API server could not be reached.
    """
    config_map = await client.get(CONFIG_MAP, NAMESPACE, NAME)
    return FrontProxy.of(config_map) if config_map else None
