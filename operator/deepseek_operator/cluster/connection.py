"""Connection to the API server, configured by the pod's service account or a kubeconfig.

`kubernetes.aio` reads the configuration and renews the token; requests go straight through
aiohttp, because the package's overhead per request costs more than the request itself.
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

# A line of a watch stream is a whole object; etcd accepts none above 1.5 MiB.
LINE_LIMIT = 2**22


class Connection:
    """Authenticated requests to one API server."""

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
        """Send a request and yield the response, whatever its status; the caller reads its body.

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
        """Return the bearer token header, if any; an old service account token is read anew."""
        return {
            setting["key"]: setting["value"]
            for setting in (await self._configuration.auth_settings()).values()
        }


def _environment_proxy(url: str) -> str | None:
    """Return the environment's proxy for a URL; aiohttp would look it up for every request."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def namespace_of(context: str) -> str:
    """Return the namespace of a kubeconfig context, `default` if it sets none.

    Args:
        context: Name of the context; empty: the current one.

    Raises:
        kubernetes.aio.config.ConfigException: There is no such context, or no kubeconfig.
    """
    contexts, current = config.list_kube_config_contexts()
    found = next((item for item in contexts if item["name"] == context), None)
    if context and found is None:
        raise config.ConfigException(f"the kubeconfig has no context {context}")
    return str((found or current)["context"].get("namespace") or "default")


@asynccontextmanager
async def connection(
    context: str | None = None, kubeconfig: Path | None = None
) -> AsyncIterator[Connection]:
    """Yield a connection with the pod's service account, or with a kubeconfig outside a cluster.

    Args:
        context: Context of the kubeconfig, used even in a pod; empty: its current one.
        kubeconfig: Its path; None: the one that `kubectl` uses.

    Raises:
        kubernetes.aio.config.ConfigException: There is neither of these.
    """
    if context is not None or kubeconfig is not None:
        file = str(kubeconfig) if kubeconfig else None
        await config.load_kube_config(config_file=file, context=context or None)
    else:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
    # Used only to build the TLS context from the configuration.
    async with client.ApiClient() as api:
        connector = aiohttp.TCPConnector(ssl=api.rest_client.ssl_context, limit=0)
        async with aiohttp.ClientSession(
            connector=connector,
            read_bufsize=LINE_LIMIT,
            headers={"User-Agent": MANAGER},
        ) as session:
            yield Connection(session, api.configuration)
