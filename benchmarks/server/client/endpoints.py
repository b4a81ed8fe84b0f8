"""A server to measure, however it is given: the URL of one that runs, or a command that starts it."""

import asyncio
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.server.client.http import ProtocolError
from benchmarks.server.client.load import fetch
from benchmarks.server.client.target import Target, at
from benchmarks.server.failures import BenchError
from benchmarks.server.serving import Command, running


@contextmanager
def opened(text: str, like: Target, ready: str, log: Path) -> Iterator[Target]:
    """A server, which is ended after the block where it was started for it.

    Args:
        text: a URL, or a command with `{port}` where the port goes.
        like: dialect, headers, more fields and perhaps the model of the requests.
        ready: the page that a command's server answers with 200 once it takes requests.
        log: takes what a command prints.

    Raises:
        BenchError: it cannot be reached or does not start.
    """
    if text.startswith(("http://", "https://")):
        place = at(text)
        yield named(replace(like, host=place.host, port=place.port, path=place.path))
        return
    if "{port}" not in text:
        raise BenchError(
            f"{text!r} is neither a URL nor a command that says where its port goes: "
            "write http://HOST:PORT, or {port} in the command"
        )
    command = Command(shlex.split(text), dialect=like.dialect, model=like.model, ready=ready)
    with running(command, log) as server:
        yield named(replace(like, host=server.target.host, port=server.target.port))


def named(target: Target) -> Target:
    """The target with the first model that it says it serves, unless one was given.

    Raises:
        BenchError: it cannot be reached, or names none.
    """
    if target.model:
        return target
    try:
        _, body = asyncio.run(fetch(target, "/v1/models"))
        return replace(target, model=str(json.loads(body)["data"][0]["id"]))
    except (OSError, ProtocolError) as error:
        raise BenchError(
            f"http://{target.host}:{target.port} cannot be reached ({error}): start the server"
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise BenchError(
            f"http://{target.host}:{target.port}/v1/models names no model: give it with --model"
        ) from error
