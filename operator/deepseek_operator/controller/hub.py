"""Reader of config.json for models that the catalogue lacks, from the installation's hub.

Only small public files are read: no token is sent, and only the hub that the installation names is
contacted. A hub that does not respond is skipped for a while, so that resources do not wait for it
one after the other; the resync retries them.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aiohttp

from deepseek_operator.plan.state.observed import ConfigFile

PUBLIC = "https://huggingface.co"
# Limits of one file, in seconds and in bytes: those of published models have a few thousand bytes.
TIMEOUT = 5.0
LIMIT = 2**20
# Number of files remembered, found or missing.
KEPT = 256
# Seconds until a missing file is looked up again, and backoff for a hub that does not respond.
MISSING_DELAY = 600.0
FIRST_DELAY, LAST_DELAY = 30.0, 3600.0

Key = tuple[str, str, str]


class _MissingError(Exception):
    """The hub has no usable file there, or denies access to it."""


class _SilentError(Exception):
    """The hub does not respond."""


@dataclass
class _Silence:
    """Backoff for a hub that does not respond."""

    until: float
    delay: float
    problem: str


class Hub:
    """Reads files, each once, and remembers the results.

    Args:
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Key, tuple[ConfigFile, float]] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[ConfigFile]] = {}
        self._silent: dict[str, _Silence] = {}

    async def read(self, file: ConfigFile) -> ConfigFile:
        """Return the file with its content, or with the problem, after at most TIMEOUT."""
        key = (file.endpoint, file.model_id, file.revision)
        known, again = self._known.get(key, (None, 0.0))
        if known and self._clock() < again:
            self._known.move_to_end(key)
            return known
        silence = self._silent.get(file.endpoint)
        if silence and self._clock() < silence.until:
            return replace(file, problem=silence.problem)
        if key not in self._reading:
            task = asyncio.create_task(self._read(key, file))
            self._reading[key] = task
            task.add_done_callback(lambda _: self._reading.pop(key))
        # Others may wait for the same file: a cancelled caller must not cancel their read.
        return await asyncio.shield(self._reading[key])

    async def _read(self, key: Key, file: ConfigFile) -> ConfigFile:
        url = _url(file)
        try:
            found, again = replace(file, content=await _fetch(url)), float("inf")
        except _MissingError as error:
            found = replace(file, problem=f"{url} {error}")
            again = self._clock() + MISSING_DELAY
        except _SilentError as error:
            return replace(file, problem=self._silence(file.endpoint, f"{url} {error}"))
        self._silent.pop(file.endpoint, None)
        self._known[key] = (found, again)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found

    def _silence(self, endpoint: str, problem: str) -> str:
        before = self._silent.get(endpoint)
        if before and self._clock() < before.until:
            return before.problem  # several files were requested at once: back off only once
        delay = min(before.delay * 2, LAST_DELAY) if before else FIRST_DELAY
        self._silent[endpoint] = _Silence(self._clock() + delay, delay, problem)
        return problem


def _url(file: ConfigFile) -> str:
    endpoint = (file.endpoint or PUBLIC).rstrip("/")
    model, revision = quote(file.model_id, safe="/"), quote(file.revision, safe="")
    return f"{endpoint}/{model}/resolve/{revision}/config.json"


async def _fetch(url: str) -> Mapping[str, Any]:
    """Return the JSON object at a URL.

    Raises:
        _MissingError: There is none.
        _SilentError: The hub did not respond, so that is unknown.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url) as response,
        ):
            if response.status == 429 or response.status >= 500:
                raise _SilentError(f"returned {response.status}")
            if response.status != 200:
                raise _MissingError(f"returned {response.status}")
            text = b""
            async for part in response.content.iter_any():
                text += part
                if len(text) > LIMIT:
                    raise _MissingError("is too large for a config.json")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _SilentError(f"can't be read ({type(error).__name__})") from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _MissingError("is not JSON") from error
    if not isinstance(content, dict):
        raise _MissingError("holds no JSON object")
    return content
