"""The load of pods, from their own /metrics, read when somebody asks."""

import asyncio
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any, NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import POD
from deepseek_operator.custom_metrics.shared import Shared
from deepseek_operator.plan.desired.scaling import METRICS, Metric
from deepseek_operator.plan.state.labels import SELECTOR
from deepseek_operator.plan.traffic.pod_endpoints import Desk, desk

# An autoscaler asks for each of its metrics in turn: both come from one reading.
FRESH = 2.0  # seconds
DEADLINE = 3.0  # seconds for one pod
IN_FLIGHT = 64

# The names of all engines; which one a pod runs, what it tells says.
SAMPLES = tuple(
    sample
    for metric in METRICS.values()
    for samples in metric.samples.values()
    for sample in samples
)
SHARES = frozenset(
    sample
    for metric in METRICS.values()
    if metric.share
    for samples in metric.samples.values()
    for sample in samples
)


class UnreadableError(Exception):
    """The load could not be read; the text says of which pods and why."""


class Address(NamedTuple):
    """Where a pod is."""

    namespace: str
    name: str
    ip: str
    desk: Desk

    @property
    def url(self) -> str:
        """Of its metrics."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{self.desk.port}{self.desk.metrics}"


@dataclass(frozen=True)
class Reading:
    """What a pod's /metrics said.

    Attributes:
        samples: Sums by name of the sample, averages where it is a share.
        time: When, as RFC 3339.
    """

    samples: dict[str, float]
    time: str


@dataclass(frozen=True)
class Value:
    """A metric of a pod."""

    pod: str
    value: float
    time: str


class Load:
    """Asks pods for their load: few at a time, for a limited time, not twice for the same."""

    def __init__(self, client: Client, session: aiohttp.ClientSession):
        self._client = client
        self._session = session
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._pods: Shared[tuple[str, str, str], list[Address]] = Shared(FRESH, self._find)
        self._readings: Shared[Address, Reading] = Shared(FRESH, self._read)

    async def of(
        self, metric: Metric, namespace: str, selector: str = "", name: str = ""
    ) -> list[Value]:
        """A metric of every pod that takes requests, of those that a selector or a name chooses.

        A pod that is not ready is left out: autoscalers take what is missing for neither busy nor
        idle, so a model that is being loaded neither calls for more replicas nor costs one.

        Raises:
            UnreadableError: No pod of several could be read.
            ApiError: The API server does not say which pods there are.
        """
        pods = await self._pods.get((namespace, selector, name))
        found = await asyncio.gather(
            *(self._value(metric, pod) for pod in pods), return_exceptions=True
        )
        values = [value for value in found if isinstance(value, Value)]
        failures = [error for error in found if isinstance(error, BaseException)]
        for error in failures:
            if not isinstance(error, UnreadableError):
                raise error
        if failures and not values:
            raise UnreadableError(
                f"None of {len(pods)} ready pod(s) could be read, the first because {failures[0]}"
            )
        return values

    async def _value(self, metric: Metric, pod: Address) -> Value:
        reading = await self._readings.get(pod)
        told = (
            samples for samples in metric.samples.values() if reading.samples.keys() >= {*samples}
        )
        samples = next(told, None)
        if samples is None:
            names = ", or ".join(" and ".join(known) for known in metric.samples.values())
            raise UnreadableError(f"{pod.url} of pod {pod.name} does not tell {names}")
        total = sum(reading.samples[sample] for sample in samples)
        return Value(pod.name, total * metric.factor, reading.time)

    async def _find(self, chosen: tuple[str, str, str]) -> list[Address]:
        namespace, selector, name = chosen
        selectors = ",".join(part for part in (selector, SELECTOR) if part)
        pods = await self._client.select(POD, namespace, selectors, name)
        return [
            Address(namespace, pod["metadata"]["name"], pod["status"]["podIP"], desk(pod))
            for pod in pods
            if _takes_requests(pod)
        ]

    async def _read(self, pod: Address) -> Reading:
        try:
            async with (
                self._slots,
                asyncio.timeout(DEADLINE),
                self._session.get(pod.url, raise_for_status=True) as answer,
            ):
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = str(error) or f"there was no answer within {DEADLINE:.0f} s"
            raise UnreadableError(
                f"{pod.url} of pod {pod.name} could not be read: {why}"
            ) from error
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Reading(sums(text), now)


def sums(text: str) -> dict[str, float]:
    """The samples that count, of Prometheus' text format: each summed over its labels.

    Shares are not added up: of several groups in a pod that have caches of their own, the average
    counts.
    """
    lines = [line for line in text.splitlines() if line.startswith(SAMPLES)]
    found: dict[str, list[float]] = {}
    try:
        families = list(text_string_to_metric_families("\n".join(lines) + "\n"))
    except ValueError:
        return {}
    for family in families:
        for sample in family.samples:
            if sample.name in SAMPLES and math.isfinite(sample.value):
                found.setdefault(sample.name, []).append(sample.value)
    return {
        name: fmean(values) if name in SHARES else sum(values) for name, values in found.items()
    }


def _takes_requests(pod: dict[str, Any]) -> bool:
    status = pod.get("status", {})
    ready = any(
        item["type"] == "Ready" and item["status"] == "True"
        for item in status.get("conditions", [])
    )
    return ready and bool(status.get("podIP")) and "deletionTimestamp" not in pod["metadata"]
