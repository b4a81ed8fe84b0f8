"""`deepseek local up`: serve a resource on this machine."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.cli import options, resource
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import CommandError, FailedError, RefusedError
from deepseek_operator.cli.installation import installation
from deepseek_operator.cli.local.known import ask_to_end, clean
from deepseek_operator.cli.local.listening import is_loopback, listen
from deepseek_operator.cli.local.watch import Watch
from deepseek_operator.cli.output import warn
from deepseek_operator.local import probing, restarts
from deepseek_operator.local.adapted import Wish
from deepseek_operator.local.arrangement import Arrangement, Proposal, arrange
from deepseek_operator.local.machine import Machine, unlisted
from deepseek_operator.local.place import Place, tail
from deepseek_operator.local.supervisor import Supervisor
from deepseek_operator.plan.capacity import quantity
from deepseek_operator.plan.checks import Refusal

LOOK_SECONDS = 0.3
PORT = 8000

Port = Annotated[int, typer.Option(min=0, max=65535, help="Of the endpoint; 0 takes a free one.")]
Host = Annotated[str, typer.Option(help="Address of the endpoint. Default: this machine alone.")]
Replicas = Annotated[int | None, typer.Option(min=1, help="How many, in place of what FILE says.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="What computes. auto: GPUs on which nobody else computes, else the CPU."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A directory with the model, in place of its source.", metavar="DIR"),
]
Keys = Annotated[
    Path | None,
    typer.Option(help="File of hashed API keys, as in the Secret of security.apiKeys."),
]
Memory = Annotated[
    str | None,
    typer.Option(help="Main memory that it may take, such as 16Gi. Default: what is free now."),
]
Container = Annotated[
    bool, typer.Option("--container", help="Run the servers in containers of docker or podman.")
]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Come back once it is ready; it goes on by itself.")
]


def up(
    file: options.File,
    replicas: Replicas = None,
    device: Device = "auto",
    port: Port = PORT,
    host: Host = "127.0.0.1",
    weights: Weights = None,
    api_keys: Keys = None,
    memory: Memory = None,
    detach: Detach = False,
    container: Container = False,
    server_image: options.Image = None,
    model_config: options.ModelConfig = None,
    values: options.Values = None,
) -> None:
    """Serve FILE on this machine until Ctrl-C, which lets running requests end; again ends them.

    Exit code 1: it is refused, in the operator's words where those fit. 2: FILE, an option or this
    machine can't be used. 5: all replicas have failed.
    """
    body = resource.one(file, None)
    settings = installation(values, server_image, "")
    _same_keys(body, host, api_keys)
    engine = _engine(container)
    machine = _machine(memory)
    if device == "cuda" and not machine.free:
        raise CommandError("--device cuda: this machine has no GPU of NVIDIA that is free.")
    directory = _weights(body, weights)
    wish = Wish(device, replicas, weights, api_keys, engine, server_image or "")
    config = mapping(model_config) if model_config else None
    if config is None and directory:
        config = probing.config_of(directory)
    downloaded = probing.downloaded(str(_fields(body["spec"], "model").get("id")))
    found = arrange(body, settings, machine, wish, config, downloaded)
    if isinstance(found, Refusal):
        raise RefusedError(found.reason, found.message)
    _tell(found)
    _serve(found.arrangement, host, port, detach)


def _engine(container: bool) -> str:
    """What runs containers, empty where none are wanted.

    Raises:
        CommandError: Servers can't be run in the way that is wanted.
    """
    if container:
        if engine := probing.container_engine():
            return engine
        raise CommandError(
            "--container: neither docker nor podman answers. Start one (docker info says what is "
            "wrong), or leave --container out to run the server without."
        )
    if missing := probing.missing():
        raise CommandError(
            f"The model server can't run here: {', '.join(missing)} not installed. "
            "Run pip install '.[server]' in a checkout (for FlashInfer on GPUs '.[gpu]'), or give "
            "--container."
        )
    return ""


def _machine(memory: str | None) -> Machine:
    machine = probing.look(probing.hub_cache())
    if memory is not None:
        machine = replace(machine, memory=_bytes(memory))
    if new := unlisted(machine.gpus):
        known = entries.own()
        taken = {"models": known.models, "accelerators": {**known.accelerators, **new}}
        entries.take(taken, "this machine's GPUs")
        accelerators.cache_clear()
    return machine


def _bytes(memory: str) -> int:
    try:
        return int(quantity(memory))
    except ValueError as error:
        raise CommandError(
            f"--memory {memory} is no amount of memory: write it as 16Gi."
        ) from error


def _weights(body: dict[str, Any], weights: Path | None) -> Path | None:
    """The directory with the model, None where it is not in one.

    Raises:
        CommandError: There is no such directory.
    """
    path = _fields(body["spec"], "model", "source", "hostPath").get("path")
    directory = weights or (Path(path) if isinstance(path, str) else None)
    if directory is not None and not (directory / "config.json").exists():
        raise CommandError(
            f"{directory} is no directory with a model: it has no config.json. "
            "--weights DIR names another one."
        )
    return directory


def _same_keys(body: dict[str, Any], host: str, keys: Path | None) -> None:
    """What asks for keys in a cluster must not be open to a network here.

    Raises:
        CommandError: It would be; or there is no such file.
    """
    if keys is not None and not keys.is_file():
        raise CommandError(f"--api-keys {keys}: there is no such file.")
    asked = {"apiKeys", "jwt"} & set(_fields(body["spec"], "security"))
    if asked and keys is None and not is_loopback(host):
        raise CommandError(
            f"FILE lets in only who proves something, and --host {host} is open to the network: "
            "give --api-keys FILE, or leave --host out."
        )


def _fields(part: Any, *names: str) -> dict[str, Any]:
    """A section of a resource that nobody has checked yet; empty where it is none."""
    for name in names:
        part = part.get(name) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def _tell(found: Proposal) -> None:
    if found.ignored:
        warn("Without a meaning on one machine, so ignored:")
        for path, why in found.ignored.items():
            warn(f"  spec.{path}: {why}")
    for note in found.notes:
        warn(note)


def _serve(arrangement: Arrangement, host: str, port: int, detach: bool) -> None:
    """Start it where nobody else has its name or its port.

    Raises:
        CommandError: Somebody has.
        FailedError: All replicas have failed.
    """
    place = Place.of(arrangement.name)
    lock = place.lock()
    if lock is None:
        view = place.view()
        where = f" at {view.endpoint}/v1" if view else ""
        raise CommandError(
            f"{arrangement.name} is up already{where}: bring it down with deepseek local down "
            f"{arrangement.name}, or give the resource another name."
        )
    try:
        listening = _listen(place, host, port)
        clean(place)
        place.clear()
        arrangement = arrangement.model_copy(update={"run": secrets.token_hex(8)})
        place.write_arrangement(arrangement)
        count = len(arrangement.replicas)
        warn(
            f"Starting {count} replica{'s' * (count > 1)} of {arrangement.model_id}, "
            f"{'each ' * (count > 1)}on {arrangement.runs_on}, from {arrangement.source}. {restarts.POLICY}"
        )
        if detach:
            _detached(place, lock, listening)
        else:
            _attached(arrangement, place, listening)
    finally:
        os.close(lock)


def _listen(place: Place, host: str, port: int) -> socket.socket:
    """Take a port; where that fails a name that was never up stays unknown.

    Raises:
        CommandError: Somebody has it.
    """
    try:
        return listen(host, port)
    except CommandError:
        if place.arrangement() is None:
            place.remove()
        raise


def _attached(arrangement: Arrangement, place: Place, listening: socket.socket) -> None:
    with Watch(hint="Ctrl-C ends it.") as watch:
        code = asyncio.run(_run(arrangement, place, listening, watch))
    if code:
        raise FailedError(_failed(arrangement.name))
    warn("Ended.")


async def _run(
    arrangement: Arrangement, place: Place, listening: socket.socket, watch: Watch
) -> int:
    return await Supervisor(arrangement, place, listening, watch).run()


def _detached(place: Place, lock: int, listening: socket.socket) -> None:
    """Hand it to a process of its own, and wait until it is ready."""
    module = [sys.executable, "-m", "deepseek_operator.local", str(place.directory)]
    with place.supervisor_log.open("ab") as log:
        process = subprocess.Popen(
            [*module, str(lock), str(listening.fileno())],
            pass_fds=(lock, listening.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    listening.close()
    hint = f"deepseek local down {place.name} ends it."
    try:
        with Watch(hint=hint) as watch:
            while not watch.settled and process.poll() is None:
                time.sleep(LOOK_SECONDS)
                if view := place.view():
                    watch(view)
    except KeyboardInterrupt:
        warn(f"Bringing {place.name} down.")
        ask_to_end(place)
        process.wait()
        raise
    if not watch.ready:
        process.wait()
        said = "".join(f"\n  {line}" for line in tail(place.supervisor_log, 5))
        raise FailedError(f"{_failed(place.name)}{said}")


def _failed(name: str) -> str:
    return (
        f"No replica of {name} runs any more; what was wrong is said above. "
        f"deepseek local logs {name} has all of it."
    )
