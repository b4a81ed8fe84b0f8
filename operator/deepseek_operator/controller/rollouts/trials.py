"""Test requests to a new set before it takes those of clients.

They run beside the workers, which must not wait for servers.
"""

import asyncio
import json
from collections.abc import Callable, Iterable

import aiohttp

from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.plan.desired.desired_state import PORT

TIMEOUT = aiohttp.ClientTimeout(total=120.0)
# A failed request is retried once: a broken version fails twice.
ATTEMPTS = 2
PAUSE = 1.0
IN_FLIGHT = 16
ANSWER_LIMIT = 2**20

Result = tuple[bool, str]


class Trials:
    """Test requests in progress, by resource.

    Args:
        requeue: Queues a resource for another pass.
    """

    def __init__(self, requeue: Callable[[Key], None]):
        self._requeue = requeue
        self._tasks: dict[Key, tuple[str, asyncio.Task[Result]]] = {}

    def result(
        self, key: Key, revision: str, pods: Iterable[tuple[str, str]], model: str, number: int
    ) -> tuple[bool | None, str]:
        """Return whether every pod has responded, and the first problem; None while in progress.

        Args:
            key: The resource.
            revision: Revision under test.
            pods: Names and addresses of its pods.
            model: Model name that clients use.
            number: Requests to each pod.
        """
        known = self._tasks.get(key)
        if known and known[0] != revision:
            self.forget(key)
            known = None
        if known is None:
            task = asyncio.create_task(_tried(list(pods), model, number))
            task.add_done_callback(lambda done: done.cancelled() or self._requeue(key))
            self._tasks[key] = revision, task
            return None, ""
        _, task = known
        if not task.done():
            return None, ""
        del self._tasks[key]
        return task.result()

    def forget(self, key: Key) -> None:
        """Cancel the test requests of a resource, if any."""
        if known := self._tasks.pop(key, None):
            known[1].cancel()


async def _tried(pods: list[tuple[str, str]], model: str, number: int) -> Result:
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        problems = await asyncio.gather(
            *(_problem(session, name, address, model, number) for name, address in pods)
        )
    first = next((problem for problem in problems if problem), "")
    return not first, first


async def _problem(
    session: aiohttp.ClientSession, name: str, address: str, model: str, number: int
) -> str:
    """Return what is wrong with the responses of a pod, empty if nothing is."""
    host = f"[{address}]" if ":" in address else address
    for _ in range(number):
        for attempt in range(ATTEMPTS):
            problem = await _asked(session, f"http://{host}:{PORT}/v1/completions", model)
            if not problem:
                break
            if attempt + 1 == ATTEMPTS:
                return f"Pod {name} of the new set failed a test request: {problem}."
            await asyncio.sleep(PAUSE)
    return ""


async def _asked(session: aiohttp.ClientSession, url: str, model: str) -> str:
    body = {"model": model, "prompt": "Hello", "max_tokens": 8, "temperature": 0}
    try:
        async with session.post(url, json=body, allow_redirects=False) as response:
            text = await response.content.read(ANSWER_LIMIT)
            if response.status in (401, 403):
                return ""  # the server requires an API key, which the operator does not have
            if response.status != 200:
                return f"status {response.status}, {text[:200].decode(errors='replace')}"
            answer = json.loads(text)
            return "" if answer["choices"] else "the response has no choices"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return str(error) or "no response within two minutes"
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        return f"the response is not a completion, {error!r}"
