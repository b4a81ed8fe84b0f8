"""Metrics of model servers, read from /metrics when a canary step is analysed."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp

from deepseek_operator.api.engine import EngineType
from deepseek_operator.plan.progressive.samples import Sample, read
from deepseek_operator.plan.state.observed import PodView
from deepseek_operator.plan.traffic.pod_endpoints import ScrapeTarget

TIMEOUT = aiohttp.ClientTimeout(total=3.0)
IN_FLIGHT = 16
ANSWER_LIMIT = 4 * 2**20


@dataclass(frozen=True)
class Counts:
    """Metrics of several servers.

    Attributes:
        samples: Samples by pod name.
        scrape_error: Why a server could not be read, empty if all could.
    """

    samples: dict[str, Sample]
    scrape_error: str = ""


async def counts(pods: Iterable[tuple[PodView, str, ScrapeTarget]], engine: EngineType) -> Counts:
    """Read the metrics of servers; one that does not respond costs a few seconds, no error.

    Args:
        pods: Pods, with their address and where they serve metrics.
        engine: Engine that they run.
    """
    pods = list(pods)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        urls = [_url(address, scrape_target) for _, address, scrape_target in pods]
        found = await asyncio.gather(*(_read(session, url, engine) for url in urls))
    samples, scrape_error = {}, ""
    for (pod, _, _), url, answer in zip(pods, urls, found, strict=True):
        if isinstance(answer, Sample):
            samples[pod.name] = answer
        else:
            scrape_error = scrape_error or f"{url} of pod {pod.name}: {answer}."
    return Counts(samples, scrape_error)


async def _read(session: aiohttp.ClientSession, url: str, engine: EngineType) -> Sample | str:
    """Return the metrics of a server, or why they could not be read."""
    try:
        async with session.get(url, allow_redirects=False, raise_for_status=True) as response:
            text = (await response.content.read(ANSWER_LIMIT)).decode(errors="replace")
            while len(text) < ANSWER_LIMIT and not response.content.at_eof():
                text += (await response.content.read(ANSWER_LIMIT)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return str(error) or "no response in time"
    return read(text, engine) or f"it lacks the metrics of {engine}"


def _url(address: str, scrape_target: ScrapeTarget) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{scrape_target.port}{scrape_target.metrics}"
