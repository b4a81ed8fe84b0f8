"""Command line and environment of a server, with and without a container."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepseek_operator.local.launch_plan import KEYS_MOUNT, LaunchPlan, Replica
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT, PORT
from deepseek_operator.plan.engines.program import CACHE_MOUNT
from deepseek_operator.plan.engines.transformers import CONFIG

LOOPBACK = "127.0.0.1"
# Environment variable that identifies all processes of a server: RUN/INDEX.
MARK = "DEEPSEEK_LOCAL_RUN"
# Container label with the same value.
LABEL = "io.deepseek-operator.local"
# File in which a server reports why it can't start.
LAST_WORDS, LAST_WORDS_MOUNT = "TERMINATION_LOG", "/run/deepseek/last-words"
THREADS = "OMP_NUM_THREADS"
# Shell variables that are passed to a container: for downloads and logging.
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
    """A command line and its environment.

    Attributes:
        arguments: The program and its arguments.
        env: Variables in addition to those of the shell.
    """

    arguments: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Files:
    """Files of a server.

    Attributes:
        config: Config file.
        last_words: File in which it reports why it can't start.
        cache: Download directory.
        user: User ID and group ID of the owner of these files.
    """

    config: Path
    last_words: Path
    cache: Path
    user: tuple[int, int]


def mark(run: str, index: int) -> str:
    """Return the value that identifies the processes of a replica."""
    return f"{run}/{index}"


def config_text(launch_plan: LaunchPlan, port: int) -> str:
    """Return the config file of a server on a port of this machine.

    In a container it listens on the container's own port.
    """
    any_address = "0.0.0.0"  # noqa: S104 - a container's own, published only on the loopback
    listen = (any_address, PORT) if launch_plan.engine else (LOOPBACK, port)
    config = {**launch_plan.config, "listen": dict(zip(("host", "port"), listen, strict=True))}
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def command(
    launch_plan: LaunchPlan, replica: Replica, files: Files, port: int, shell: Mapping[str, str]
) -> Command:
    """Return the command that starts a server.

    Args:
        launch_plan: The launch plan.
        replica: The replica to start.
        files: Its files.
        port: Its port.
        shell: Environment of the shell, which processes inherit.
    """
    env = dict(launch_plan.env)
    if launch_plan.threads and THREADS not in shell:
        env.setdefault(THREADS, str(launch_plan.threads))
    if launch_plan.engine:
        return Command(_container(launch_plan, replica, files, port, env, shell), {})
    env |= {LAST_WORDS: str(files.last_words), MARK: mark(launch_plan.run, replica.index)}
    if replica.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(replica.gpus)
    program = (sys.executable, "-m", "deepseek_server")
    return Command((*program, "--config", str(files.config), *launch_plan.args), env)


def container_name(launch_plan: LaunchPlan, replica: Replica) -> str:
    """Return the container name of a replica; it prevents two simultaneous starts."""
    return f"deepseek-{launch_plan.name}-{replica.index}"


def _container(
    launch_plan: LaunchPlan,
    replica: Replica,
    files: Files,
    port: int,
    env: dict[str, str],
    shell: Mapping[str, str],
) -> tuple[str, ...]:
    env = {
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "USER": "model",  # torch needs a user name, and the user ID may have no passwd entry
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
    if launch_plan.weights:
        mounts.append((launch_plan.weights, MODEL_MOUNT, ":ro"))
    if launch_plan.keys:
        mounts.append((launch_plan.keys, KEYS_MOUNT, ":ro"))
    return (
        *(launch_plan.engine, "run", "--rm", "--init"),
        *("--name", container_name(launch_plan, replica)),
        *("--label", f"{LABEL}={mark(launch_plan.run, replica.index)}"),
        *("--publish", f"{LOOPBACK}:{port}:{PORT}"),
        *(
            part
            for source, there, mode in mounts
            for part in ("--volume", f"{source}:{there}{mode}")
        ),
        # By name only, so that a token does not appear in the process list.
        *(part for name in HANDED_ON if name in shell for part in ("--env", name)),
        *(part for item in env.items() for part in ("--env", "=".join(item))),
        *_user(launch_plan.engine, files.user),
        *_devices(launch_plan.engine, replica),
        *(("--shm-size", str(launch_plan.shm)) if launch_plan.shm else ()),
        *(launch_plan.image, "--config", CONFIG, *launch_plan.args),
    )


def _user(engine: str, user: tuple[int, int]) -> tuple[str, ...]:
    """Return the options that run the container as the owner of the files."""
    if engine == "podman":
        return ("--userns", "keep-id")
    return ("--user", ":".join(map(str, user)))


def _devices(engine: str, replica: Replica) -> tuple[str, ...]:
    if not replica.gpus:
        return ()
    if engine == "podman":  # devices as in the CDI specification of NVIDIA's toolkit
        return tuple(
            part for uuid in replica.gpus for part in ("--device", f"nvidia.com/gpu={uuid}")
        )
    # docker parses the value as a CSV line, hence the quotes.
    return ("--gpus", f'"device={",".join(replica.gpus)}"')
