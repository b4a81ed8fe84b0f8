"""Load of pods, read on demand from their /metrics."""

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
from deepseek_operator.plan.traffic.pod_endpoints import ScrapeTarget, scrape_target

# An autoscaler requests its metrics one after the other; both come from one reading.
FRESH = 2.0  # seconds
DEADLINE = 3.0  # seconds for one pod
IN_FLIGHT = 64

# Sample names of all engines; those in its answer show which engine a pod runs.
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
    """Raised when the load can't be read; the message names the pods and the cause."""


class Address(NamedTuple):
    """Address of a pod's metrics."""

    namespace: str
    name: str
    ip: str
    scrape_target: ScrapeTarget

    @property
    def url(self) -> str:
        """URL of the pod's metrics."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{self.scrape_target.port}{self.scrape_target.metrics}"


@dataclass(frozen=True)
class Reading:
    """One reading of a pod's /metrics.

    Attributes:
        samples: Sums by name of the sample, averages for shares.
        time: Time of the reading, as RFC 3339.
    """

    samples: dict[str, float]
    time: str


@dataclass(frozen=True)
class Value:
    """Value of a metric for one pod."""

    pod: str
    value: float
    time: str


class Load:
    """Reader of pods' load, with a concurrency limit, a timeout and a short-lived cache."""

    def __init__(self, client: Client, session: aiohttp.ClientSession):
        self._client = client
        self._session = session
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._pods: Shared[tuple[str, str, str], list[Address]] = Shared(FRESH, self._find)
        self._readings: Shared[Address, Reading] = Shared(FRESH, self._read)

    async def of(
        self, metric: Metric, namespace: str, selector: str = "", name: str = ""
    ) -> list[Value]:
        """Return a metric of every ready pod that a selector or a name selects.

        Pods that are not ready are left out: autoscalers take missing pods as neither busy nor idle,
        so a pod that loads its model causes neither more replicas nor fewer.

        Raises:
            UnreadableError: None of the pods could be read.
            ApiError: The API server could not list the pods.
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
                f"None of {len(pods)} ready pod(s) could be read; first error: {failures[0]}"
            )
        return values

    async def _value(self, metric: Metric, pod: Address) -> Value:
        reading = await self._readings.get(pod)
        complete = (
            samples for samples in metric.samples.values() if reading.samples.keys() >= {*samples}
        )
        samples = next(complete, None)
        if samples is None:
            names = ", or ".join(" and ".join(known) for known in metric.samples.values())
            raise UnreadableError(f"{pod.url} of pod {pod.name} lacks {names}")
        total = sum(reading.samples[sample] for sample in samples)
        return Value(pod.name, total * metric.factor, reading.time)

    async def _find(self, chosen: tuple[str, str, str]) -> list[Address]:
        namespace, selector, name = chosen
        selectors = ",".join(part for part in (selector, SELECTOR) if part)
        pods = await self._client.select(POD, namespace, selectors, name)
        return [
            Address(namespace, pod["metadata"]["name"], pod["status"]["podIP"], scrape_target(pod))
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
            why = str(error) or f"no answer within {DEADLINE:.0f} s"
            raise UnreadableError(
                f"{pod.url} of pod {pod.name} could not be read: {why}"
            ) from error
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Reading(sums(text), now)


def sums(text: str) -> dict[str, float]:
    """Return the relevant samples of Prometheus' text format, each summed over its labels.

    Shares are averaged instead: a pod may have several groups, each with its own KV cache.
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
