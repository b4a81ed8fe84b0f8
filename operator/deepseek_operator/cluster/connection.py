"""Where the API server is and who we are to it: from the pod's service account or a kubeconfig.

`kubernetes.aio` reads the configuration and renews the token; requests go straight through
aiohttp, because what the package does around each of them costs more than the request itself.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config

from deepseek_operator.plan.state.labels import MANAGER

# A line of a watch stream is a whole object; etcd takes none above 1.5 MiB.
LINE_LIMIT = 2**22


class Connection:
    """Requests to one API server, authenticated."""

    def __init__(self, session: aiohttp.ClientSession, configuration: client.Configuration):
        self._session = session
        self._configuration = configuration
        self._host = configuration.host.rstrip("/")
        self._proxy = configuration.proxy or _environment_proxy(self._host)

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response, whatever its status, whose body the caller reads.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: The API server can't be reached.
        """
        async with self._session.request(
            method,
            self._host + path,
            params=query,
            data=None if body is None else json.dumps(body),
            headers={**(await self._identity()), **(headers or {})},
            timeout=limits,
            proxy=self._proxy,
            server_hostname=self._configuration.tls_server_name,
        ) as response:
            yield response

    async def _identity(self) -> dict[str, str]:
        """The bearer token, if one is used; a service account's is read anew when it is old."""
        return {
            setting["key"]: setting["value"]
            for setting in (await self._configuration.auth_settings()).values()
        }


def _environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL; aiohttp would look for it at every request."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def namespace_of(context: str) -> str:
    """The namespace that a context of the kubeconfig chooses, `default` where it chooses none.

    Args:
        context: Its name; empty: the current one.

    Raises:
        kubernetes.aio.config.ConfigException: There is no such context, or no kubeconfig.
    """
    contexts, current = config.list_kube_config_contexts()
    found = next((item for item in contexts if item["name"] == context), None)
    if context and found is None:
        raise config.ConfigException(f"there is no context {context}")
    return str((found or current)["context"].get("namespace") or "default")


@asynccontextmanager
async def connection(
    context: str | None = None, kubeconfig: Path | None = None
) -> AsyncIterator[Connection]:
    """A connection with the pod's service account, or with the current kubeconfig outside a cluster.

    Args:
        context: Of the kubeconfig, whatever the pod; empty: its current one.
        kubeconfig: The file; None: as `kubectl` finds it.

    Raises:
        kubernetes.aio.config.ConfigException: There is none of these.
    """
    if context is not None or kubeconfig is not None:
        file = str(kubeconfig) if kubeconfig else None
        await config.load_kube_config(config_file=file, context=context or None)
    else:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
    # Only for the TLS context that it makes of a configuration.
    async with client.ApiClient() as api:
        connector = aiohttp.TCPConnector(ssl=api.rest_client.ssl_context, limit=0)
        async with aiohttp.ClientSession(
            connector=connector,
            read_bufsize=LINE_LIMIT,
            headers={"User-Agent": MANAGER},
        ) as session:
            yield Connection(session, api.configuration)
