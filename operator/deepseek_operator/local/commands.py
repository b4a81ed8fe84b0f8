"""How a server is started: the command line and the variables, with and without a container."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepseek_operator.local.launch_plan import KEYS_MOUNT, Arrangement, Replica
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT, PORT
from deepseek_operator.plan.engines.program import CACHE_MOUNT
from deepseek_operator.plan.engines.transformers import CONFIG

LOOPBACK = "127.0.0.1"
# Carried by all processes of a server, so that none is taken for another's: RUN/INDEX.
MARK = "DEEPSEEK_LOCAL_RUN"
# The same of containers.
LABEL = "io.deepseek-operator.local"
# Where a server leaves why it can't start.
LAST_WORDS, LAST_WORDS_MOUNT = "TERMINATION_LOG", "/run/deepseek/last-words"
THREADS = "OMP_NUM_THREADS"
# Variables of the shell that a container gets: what a download needs, and how logs are written.
HANDED_ON = (
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "LOG_LEVEL",
    "LOG_FORMAT",
)


@dataclass(frozen=True)
class Command:
    """What is run.

    Attributes:
        arguments: The program and its arguments.
        env: Variables beside those of the shell.
    """

    arguments: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Files:
    """What a server is given and what it leaves.

    Attributes:
        config: Its config file.
        last_words: Where it says why it can't start.
        cache: Where downloads are kept.
        user: The number of the user and of its group, whose files these are.
    """

    config: Path
    last_words: Path
    cache: Path
    user: tuple[int, int]


def mark(run: str, index: int) -> str:
    """What the processes of a replica carry."""
    return f"{run}/{index}"


def config_text(arrangement: Arrangement, port: int) -> str:
    """The config file of a server on a port of this machine.

    In a container it listens where the container's port is.
    """
    any_address = "0.0.0.0"  # noqa: S104 - a container's own, published on the loopback alone
    listen = (any_address, PORT) if arrangement.engine else (LOOPBACK, port)
    said = {**arrangement.config, "listen": dict(zip(("host", "port"), listen, strict=True))}
    return json.dumps(said, indent=2, sort_keys=True) + "\n"


def command(
    arrangement: Arrangement, replica: Replica, files: Files, port: int, shell: Mapping[str, str]
) -> Command:
    """How a server is started.

    Args:
        arrangement: All of them.
        replica: This one.
        files: What it is given.
        port: Where it is to listen.
        shell: Variables that everything inherits.
    """
    env = dict(arrangement.env)
    if arrangement.threads and THREADS not in shell:
        env.setdefault(THREADS, str(arrangement.threads))
    if arrangement.engine:
        return Command(_container(arrangement, replica, files, port, env, shell), {})
    env |= {LAST_WORDS: str(files.last_words), MARK: mark(arrangement.run, replica.index)}
    if replica.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(replica.gpus)
    program = (sys.executable, "-m", "deepseek_server")
    return Command((*program, "--config", str(files.config), *arrangement.args), env)


def container_name(arrangement: Arrangement, replica: Replica) -> str:
    """The container of a replica, which another start of it can't have at the same time."""
    return f"deepseek-{arrangement.name}-{replica.index}"


def _container(
    arrangement: Arrangement,
    replica: Replica,
    files: Files,
    port: int,
    env: dict[str, str],
    shell: Mapping[str, str],
) -> tuple[str, ...]:
    env = {
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "USER": "model",  # torch asks for a name, which a number without an entry does not have
        "HF_HOME": CACHE_MOUNT,
        "TRITON_CACHE_DIR": f"{CACHE_MOUNT}/triton",
        **env,
        LAST_WORDS: LAST_WORDS_MOUNT,
    }
    mounts = [
        (files.config, CONFIG, ":ro"),
        (files.last_words, LAST_WORDS_MOUNT, ""),
        (files.cache, CACHE_MOUNT, ""),
    ]
    if arrangement.weights:
        mounts.append((arrangement.weights, MODEL_MOUNT, ":ro"))
    if arrangement.keys:
        mounts.append((arrangement.keys, KEYS_MOUNT, ":ro"))
    return (
        *(arrangement.engine, "run", "--rm", "--init"),
        *("--name", container_name(arrangement, replica)),
        *("--label", f"{LABEL}={mark(arrangement.run, replica.index)}"),
        *("--publish", f"{LOOPBACK}:{port}:{PORT}"),
        *(
            part
            for source, there, mode in mounts
            for part in ("--volume", f"{source}:{there}{mode}")
        ),
        # By name alone: a token is nothing for the list of processes.
        *(part for name in HANDED_ON if name in shell for part in ("--env", name)),
        *(part for item in env.items() for part in ("--env", "=".join(item))),
        *_user(arrangement.engine, files.user),
        *_devices(arrangement.engine, replica),
        *(("--shm-size", str(arrangement.shm)) if arrangement.shm else ()),
        *(arrangement.image, "--config", CONFIG, *arrangement.args),
    )


def _user(engine: str, user: tuple[int, int]) -> tuple[str, ...]:
    """What has files be read and written as the user's own."""
    if engine == "podman":
        return ("--userns", "keep-id")
    return ("--user", ":".join(map(str, user)))


def _devices(engine: str, replica: Replica) -> tuple[str, ...]:
    if not replica.gpus:
        return ()
    if engine == "podman":  # by the specification that NVIDIA's toolkit writes (CDI)
        return tuple(
            part for uuid in replica.gpus for part in ("--device", f"nvidia.com/gpu={uuid}")
        )
    # The quotes are docker's: it reads the value as a line of CSV.
    return ("--gpus", f'"device={",".join(replica.gpus)}"')
