"""The server to measure: the URL of a running server, or a command that starts one."""

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
    """Yield a server; stop it after the block if it was started here.

    Args:
        text: a URL, or a command with `{port}` as its port.
        like: dialect, headers, additional fields and optionally the model of the requests.
        ready: the path that a started server answers with 200 once it accepts requests.
        log: the file for the output of a command.

    Raises:
        BenchError: the server cannot be reached or does not start.
    """
    if text.startswith(("http://", "https://")):
        place = at(text)
        yield named(replace(like, host=place.host, port=place.port, path=place.path))
        return
    if "{port}" not in text:
        raise BenchError(
            f"{text!r} is neither a URL nor a command with a {{port}} placeholder: "
            "write http://HOST:PORT, or {port} in the command"
        )
    command = Command(shlex.split(text), dialect=like.dialect, model=like.model, ready=ready)
    with running(command, log) as server:
        yield named(replace(like, host=server.target.host, port=server.target.port))


def named(target: Target) -> Target:
    """Return the target with a model: the configured one, or the first that the server lists.

    Raises:
        BenchError: the server cannot be reached, or lists no model.
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
            f"http://{target.host}:{target.port}/v1/models lists no model: name it with --model"
        ) from error
