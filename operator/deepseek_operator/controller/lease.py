"""Who leads: of all processes only the holder of a Lease watches and writes.

Two clocks never have to agree. The holder counts from the moment at which it sent its last
successful renewal, on its own monotonic clock, and writes nothing after WRITE_WINDOW of it. A
standby counts from the moment at which it saw the record change, on its own monotonic clock, and
takes over when nothing has changed for the whole DURATION. The difference of the two is what a
write that is under way may take to arrive.
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
# How often a standby looks: a lease that is given back is taken so soon.
LOOK_EVERY = 1.0


class LeaseLostError(Exception):
    """Somebody else leads, or may: this process must end."""


class Lease:
    """The right to lead, of one process.

    Args:
        client: Not fenced: the lease itself is written without being held.
        namespace: Where the Lease object is.
        name: Its name.
        identity: Of this process. One that comes back under its old identity goes on leading at
            once, so no two processes that can run at the same time may share one.
    """

    def __init__(self, client: Client, namespace: str, name: str, identity: str):
        self.identity = identity
        self._client = client
        self._namespace = namespace
        self._name = name
        self._held: Object | None = None
        self._sent = 0.0

    def may_write(self) -> float:
        """Seconds that a write which begins now may take.

        Raises:
            UnreachableError: None may begin: the lease could not be renewed in time.
        """
        left = self._sent + WRITE_WINDOW - _now()
        if self._held is None or left <= 0:
            raise UnreachableError("Nothing is written: this process may not lead any more.")
        return left

    async def acquire(self, standing_by: asyncio.Event) -> None:
        """Wait until this process leads; `standing_by` is set where another one does."""
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
                    logger.info("%s leads, this process stands by", _holder(found))
            except ApiError as error:
                logger.warning("The lease can't be read or written: %s", error)
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.8, 1.2))  # noqa: S311

    async def keep(self) -> None:
        """Renew the lease for as long as that is possible.

        Raises:
            LeaseLostError: Somebody else has it, or could have it by now.
        """
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                await self._renew_or_look()
            except (ApiError, TimeoutError) as error:
                logger.warning("The lease could not be renewed: %s", error or "no answer")
            if _now() > self._sent + WRITE_WINDOW:
                raise LeaseLostError("The lease could not be renewed in time.")

    async def release(self) -> None:
        """Give the lease back, so that a standby takes over at once."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            try:
                await self._client.replace(LEASE, _given_back(held))
            except ConflictError:
                # A renewal was under way when it was cut short.
                found = await self._read()
                if found and _holder(found) == self.identity:
                    await self._client.replace(LEASE, _given_back(found))
        except ApiError as error:
            logger.warning("The lease could not be given back: %s", error)

    async def _read(self) -> Object | None:
        """The Lease object; one that somebody made by hand may have no spec."""
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
            return False  # somebody else was faster
        self._sent = sent
        logger.info("this process (%s) leads", self.identity)
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
        """After a conflict: was it our own renewal whose answer was lost, or a successor's?"""
        found = await self._read()
        mine = self._held["spec"] if self._held else {}
        if found is None or any(
            found["spec"].get(field) != mine.get(field)
            for field in ("holderIdentity", "acquireTime")
        ):
            raise LeaseLostError(f"The lease has been taken by {_holder(found) or 'nobody'}.")
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
    """For people; nobody decides by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
