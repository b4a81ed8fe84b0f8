"""Leader election: only the process that holds the Lease watches and writes.

The clocks of two processes need not agree. The leader counts from the moment at which it sent its
last successful renewal, on its own monotonic clock, and writes nothing once WRITE_WINDOW has
passed. A standby counts from the moment at which it saw the Lease change, on its own monotonic
clock, and takes over when the Lease has not changed for DURATION. The difference between the two
is the time that a write in flight has to arrive.
"""

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError, ConflictError, UnreachableError
from deepseek_operator.cluster.kinds import LEASE

logger = logging.getLogger(__name__)

Object = dict[str, Any]

DURATION = 15.0  # seconds
RENEW_EVERY = 3.0
RENEW_LIMIT = 4.0
WRITE_WINDOW = 10.0
# Interval at which a standby polls: a released lease is taken this soon.
LOOK_EVERY = 1.0


class LeaseLostError(Exception):
    """Another process leads, or may lead: this process must end."""


class Lease:
    """The leader lease, as one process sees it.

    Args:
        client: Unfenced client: the lease itself is written without being held.
        namespace: Namespace of the Lease object.
        name: Name of the Lease object.
        identity: Identity of this process. A process that restarts under its old identity leads
            again at once, so two processes that can run at the same time must not share one.
    """

    def __init__(self, client: Client, namespace: str, name: str, identity: str):
        self.identity = identity
        self._client = client
        self._namespace = namespace
        self._name = name
        self._held: Object | None = None
        self._sent = 0.0

    def may_write(self) -> float:
        """Return how many seconds a write that begins now may take.

        Raises:
            UnreachableError: No write may begin: the lease was not renewed in time.
        """
        left = self._sent + WRITE_WINDOW - _now()
        if self._held is None or left <= 0:
            raise UnreachableError("Write refused: this process may no longer be the leader.")
        return left

    async def acquire(self, standing_by: asyncio.Event) -> None:
        """Wait until this process leads; set `standing_by` if another one does."""
        seen: tuple[str, str] | None = None
        since = _now()
        while True:
            try:
                found = await self._read()
                state = _state(found)
                if state != seen:
                    seen, since = state, _now()
                if self._is_free(found, since):
                    if await self._take(found):
                        return
                elif not standing_by.is_set():
                    standing_by.set()
                    logger.info("%s is the leader, standing by", _holder(found))
            except ApiError as error:
                logger.warning("Failed to acquire the lease, retrying: %s", error)
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.8, 1.2))  # noqa: S311

    async def keep(self) -> None:
        """Renew the lease for as long as possible.

        Raises:
            LeaseLostError: Another process holds it, or may hold it by now.
        """
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                await self._renew_or_look()
            except (ApiError, TimeoutError) as error:
                logger.warning("Failed to renew the lease: %s", error or "no response")
            if _now() > self._sent + WRITE_WINDOW:
                raise LeaseLostError("Lost the lease: it could not be renewed in time.")

    async def release(self) -> None:
        """Release the lease, so that a standby takes over at once."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            try:
                await self._client.replace(LEASE, _given_back(held))
            except ConflictError:
                # A renewal that was cut short has changed the version.
                found = await self._read()
                if found and _holder(found) == self.identity:
                    await self._client.replace(LEASE, _given_back(found))
        except ApiError as error:
            logger.warning("Failed to release the lease: %s", error)

    async def _read(self) -> Object | None:
        """Return the Lease object; one that was created by hand may have no spec."""
        found = await self._client.get(LEASE, self._namespace, self._name)
        return {"spec": {}, **found} if found else None

    def _is_free(self, found: Object | None, since: float) -> bool:
        if found is None or _holder(found) in ("", self.identity):
            return True
        duration = found["spec"].get("leaseDurationSeconds", DURATION)
        return bool(_now() - since > duration)

    async def _take(self, found: Object | None) -> bool:
        sent = _now()
        spec = self._spec(found)
        try:
            if found is None:
                metadata = {"namespace": self._namespace, "name": self._name}
                kind = {"apiVersion": f"{LEASE.group}/{LEASE.version}", "kind": LEASE.name}
                body = {**kind, "metadata": metadata, "spec": spec}
                self._held = await self._client.create(LEASE, body)
            else:
                self._held = await self._client.replace(LEASE, {**found, "spec": spec})
        except ConflictError:
            return False  # another process was faster
        self._sent = sent
        logger.info("Became the leader as %s", self.identity)
        return True

    async def _renew_or_look(self) -> None:
        try:
            await self._renew()
        except ConflictError:
            await self._look()

    async def _renew(self) -> None:
        assert self._held is not None  # noqa: S101 - kept between acquire and release only
        sent = _now()
        spec = {**self._held["spec"], "renewTime": _stamp()}
        async with asyncio.timeout(RENEW_LIMIT):
            self._held = await self._client.replace(LEASE, {**self._held, "spec": spec})
        self._sent = sent

    async def _look(self) -> None:
        """Check after a conflict whether this process still holds the lease.

        The conflict comes from a renewal of its own whose response was lost, or from a successor.

        Raises:
            LeaseLostError: A successor holds it.
        """
        found = await self._read()
        mine = self._held["spec"] if self._held else {}
        if found is None or any(
            found["spec"].get(field) != mine.get(field)
            for field in ("holderIdentity", "acquireTime")
        ):
            raise LeaseLostError(f"Lost the lease: it is held by {_holder(found) or 'no process'}.")
        self._held = found

    def _spec(self, found: Object | None) -> Object:
        before = found["spec"] if found else {}
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": _stamp(),
            "renewTime": _stamp(),
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + 1,
        }


def _given_back(held: Object) -> Object:
    return {**held, "spec": {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}


def _state(found: Object | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return found["metadata"]["uid"], found["metadata"]["resourceVersion"]


def _holder(found: Object | None) -> str:
    return str(found["spec"].get("holderIdentity") or "") if found else ""


def _now() -> float:
    return asyncio.get_running_loop().time()


def _stamp() -> str:
    """Return the current time for readers of the Lease; no decision depends on it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
