"""`deepseek local up`: serve a resource on this machine."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.cli import options, resource
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import CommandError, RefusedError
from deepseek_operator.cli.installation import installation
from deepseek_operator.cli.local.listening import is_loopback
from deepseek_operator.cli.local.serving import serve
from deepseek_operator.cli.output import warn
from deepseek_operator.local import probing
from deepseek_operator.local.host import Machine, unlisted
from deepseek_operator.local.launch_plan import Proposal, arrange
from deepseek_operator.local.local_overrides import Wish
from deepseek_operator.plan.rolling.capacity import quantity
from deepseek_operator.plan.state.refusal import Refusal

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
    serve(found.arrangement, host, port, detach)


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
