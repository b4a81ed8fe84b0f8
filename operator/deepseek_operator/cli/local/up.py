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
from deepseek_operator.local.host import Host, unlisted
from deepseek_operator.local.launch_plan import Proposal, arrange
from deepseek_operator.local.local_overrides import Overrides
from deepseek_operator.plan.rolling.capacity import quantity
from deepseek_operator.plan.state.refusal import Refusal

PORT = 8000

Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port of the endpoint; 0 takes any free port.")
]
HostOption = Annotated[str, typer.Option(help="Address of the endpoint. Default: loopback only.")]
Replicas = Annotated[
    int | None, typer.Option(min=1, help="Number of replicas; overrides spec.replicas.")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Compute device. auto: GPUs that no other process uses, else the CPU."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Directory with the model; overrides model.source.", metavar="DIR"),
]
Keys = Annotated[
    Path | None,
    typer.Option(help="File of hashed API keys, in the format of the security.apiKeys Secret."),
]
Memory = Annotated[
    str | None,
    typer.Option(help="Main memory limit for planning, such as 16Gi. Default: available memory."),
]
Container = Annotated[
    bool, typer.Option("--container", help="Run the servers in docker or podman containers.")
]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Run in the background; return once it is ready.")
]


def up(
    file: options.File,
    replicas: Replicas = None,
    device: Device = "auto",
    port: Port = PORT,
    host: HostOption = "127.0.0.1",
    weights: Weights = None,
    api_keys: Keys = None,
    memory: Memory = None,
    detach: Detach = False,
    container: Container = False,
    server_image: options.Image = None,
    model_config: options.ModelConfig = None,
    values: options.Values = None,
) -> None:
    """Serve FILE on this machine until Ctrl-C.

    The first Ctrl-C drains running requests, the second one aborts them.

    Exit codes: 1: FILE is rejected, for example because it does not fit. 2: FILE or an option is
    invalid, or this machine lacks a prerequisite. 5: all replicas have failed.
    """
    body = resource.one(file, None)
    settings = installation(values, server_image, "")
    _same_keys(body, host, api_keys)
    engine = _engine(container)
    machine = _machine(memory)
    if device == "cuda" and not machine.free:
        raise CommandError(
            "--device cuda: this machine has no free NVIDIA GPU. Use --device auto or cpu."
        )
    directory = _weights(body, weights)
    overrides = Overrides(device, replicas, weights, api_keys, engine, server_image or "")
    config = mapping(model_config) if model_config else None
    if config is None and directory:
        config = probing.config_of(directory)
    downloaded = probing.downloaded(str(_fields(body["spec"], "model").get("id")))
    found = arrange(body, settings, machine, overrides, config, downloaded)
    if isinstance(found, Refusal):
        raise RefusedError(found.reason, found.message)
    _report(found)
    serve(found.launch_plan, host, port, detach)


def _engine(container: bool) -> str:
    """Return the container engine; empty without --container.

    Raises:
        CommandError: No container engine responds, or the server's packages are missing.
    """
    if container:
        if engine := probing.container_engine():
            return engine
        raise CommandError(
            "--container: neither docker nor podman responds. Start one (docker info shows what is "
            "wrong), or leave out --container to run the server without a container."
        )
    if missing := probing.missing():
        raise CommandError(
            f"The model server can't run on this machine: {', '.join(missing)} not installed. "
            "Run pip install '.[server]' in a checkout (for FlashInfer on GPUs '.[gpu]'), or use "
            "--container."
        )
    return ""


def _machine(memory: str | None) -> Host:
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
        raise CommandError(f"--memory {memory} is not a quantity: write it as 16Gi.") from error


def _weights(body: dict[str, Any], weights: Path | None) -> Path | None:
    """Return the directory with the model; None if the model is downloaded.

    Raises:
        CommandError: The directory does not contain a model.
    """
    path = _fields(body["spec"], "model", "source", "hostPath").get("path")
    directory = weights or (Path(path) if isinstance(path, str) else None)
    if directory is not None and not (directory / "config.json").exists():
        raise CommandError(
            f"{directory} is not a model directory: it has no config.json. "
            "Use another one with --weights DIR."
        )
    return directory


def _same_keys(body: dict[str, Any], host: str, keys: Path | None) -> None:
    """Check that a resource with authentication is not exposed to the network without keys.

    Raises:
        CommandError: It would be exposed, or the key file does not exist.
    """
    if keys is not None and not keys.is_file():
        raise CommandError(f"--api-keys {keys}: file not found.")
    asked = {"apiKeys", "jwt"} & set(_fields(body["spec"], "security"))
    if asked and keys is None and not is_loopback(host):
        raise CommandError(
            f"FILE requires authentication, but --host {host} is open to the network: "
            "add --api-keys FILE, or leave out --host."
        )


def _fields(part: Any, *names: str) -> dict[str, Any]:
    """Return a section of an unvalidated resource; empty if it is not a mapping."""
    for name in names:
        part = part.get(name) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def _report(found: Proposal) -> None:
    if found.ignored:
        warn("Ignored fields, which have no meaning on one machine:")
        for path, why in found.ignored.items():
            warn(f"  spec.{path}: {why}")
    for note in found.notes:
        warn(note)
