"""TLS server of the API, which follows changes of its certificate and of the trusted authority."""

import asyncio
import datetime
import logging
import os
import ssl
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError
from deepseek_operator.custom_metrics import front_proxy, serving
from deepseek_operator.custom_metrics.access import Access
from deepseek_operator.custom_metrics.api import GROUP, Api
from deepseek_operator.custom_metrics.certificate import Certificate
from deepseek_operator.custom_metrics.front_proxy import FrontProxy
from deepseek_operator.custom_metrics.load import IN_FLIGHT, Load
from deepseek_operator.custom_metrics.serving import Place

logger = logging.getLogger(__name__)

LOOK = 10.0  # seconds between two checks
# Until there is a first certificate.
FIRST_LOOK = 1.0
# A renewed certificate is used after this time, by which the API server trusts its authority.
SETTLED = datetime.timedelta(seconds=60)


@dataclass(frozen=True)
class Trust:
    """Certificate of the server, and the API server's front proxy that it trusts."""

    certificate: Certificate
    front_proxy: FrontProxy


class Server:
    """Server that listens while there is a certificate, and restarts when trust changes."""

    def __init__(self, client: Client, place: Place):
        self._client = client
        self.place = place
        self._trust: Trust | None = None
        self._runner: web.AppRunner | None = None

    @property
    def listens(self) -> bool:
        """Whether the server accepts requests."""
        return self._runner is not None

    async def serve(self) -> None:
        """Serve forever; errors are logged and retried."""
        limits = aiohttp.TCPConnector(limit=IN_FLIGHT)
        # Pods are read directly, without a proxy from the environment.
        async with aiohttp.ClientSession(connector=limits, trust_env=False) as session:
            load, access = Load(self._client, session), Access(self._client, GROUP)
            try:
                while True:
                    try:
                        await self._look(access, load)
                    except (ApiError, OSError, ValueError) as error:
                        # ValueError: an invalid certificate, until it is renewed.
                        logger.warning("Can't serve the custom metrics API, will retry: %s", error)
                    await asyncio.sleep(LOOK if self.listens else FIRST_LOOK)
            finally:
                await self._stop()

    async def _look(self, access: Access, load: Load) -> None:
        proxy = await front_proxy.read(self._client)
        certificate = await serving.read(self._client, self.place)
        if proxy is None or certificate is None:
            return
        trust = Trust(certificate, proxy)
        if trust == self._trust or not self._may_change(trust):
            return
        runner = web.AppRunner(
            Api(proxy, access, load).application(), access_log=None, shutdown_timeout=5.0
        )
        context = tls(trust)
        await runner.setup()
        site = web.TCPSite(
            runner,
            "0.0.0.0",  # noqa: S104 - the API server is elsewhere
            self.place.port,
            ssl_context=context,
            # The new server listens before the old one stops.
            reuse_port=True,
        )
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        await self._stop()
        self._runner, self._trust = runner, trust

    def _may_change(self, trust: Trust) -> bool:
        """Return whether the API server trusts the new certificate already, or not the old one."""
        if self._trust is None or self._trust.front_proxy != trust.front_proxy:
            return True
        if not trust.certificate.follows(self._trust.certificate):
            return True
        age = datetime.datetime.now(datetime.UTC) - trust.certificate.issued()
        return age > SETTLED

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = self._trust = None


def tls(trust: Trust) -> ssl.SSLContext:
    """Return a TLS context with the server's certificate that verifies client certificates.

    Raises:
        ssl.SSLError: The certificate, key or authority is invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Optional, so that a client without a certificate gets an error message.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=trust.front_proxy.authority)
    # Python loads keys from files only. A file in memory keeps the key off the disk, and the
    # operator's root file system is read-only.
    with open(os.memfd_create("tls"), "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(trust.certificate.chain + trust.certificate.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context
