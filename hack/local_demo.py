"""`make local`: a resource on this machine without a cluster, by the commands that a person would type."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.asking import (
    EXAMPLES,
    MODELS,
    RANDOM,
    REAL_TOKENS,
    TINY_TOKENS,
    ask,
    from_hub,
    make_tiny,
    run,
    show,
)
from hack.cluster.faults import ClusterError
from hack.cluster.progress import console, say


def demo(model: str) -> None:
    """Bring a model up, ask it a question and take it down.

    Args:
        model: A repository of the model hub; empty for a tiny model made on the spot.

    Raises:
        ClusterError: a step failed.
    """
    if model:
        file = _written(from_hub(model))
        arguments: list[str] = []
    else:
        file, arguments = EXAMPLES / "tiny.yaml", ["--weights", _here(make_tiny())]
    name = yaml.safe_load(file.read_text())["metadata"]["name"]
    _local("up", _here(file), *arguments, "--detach", "--port", "0")
    try:
        _local("status")
        status = json.loads(_output("status", name, "-o", "json"))[0]
        address = status["endpoint"].removeprefix("http://")
        ask(address, status["servedName"], REAL_TOKENS if model else TINY_TOKENS)
    finally:
        _local("down", name)
    if not model:
        say(RANDOM)
    more = "" if model else " --weights .cluster/models/deepseek-v3"
    show(
        "What to try next:",
        f"deepseek local up {_here(file)}{more} --replicas 2    # Ctrl-C ends it\n"
        "deepseek local logs --follow\n"
        "make local MODEL=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B\n"
        "make demo    # the same file in a cluster",
    )


def _written(resource: dict[str, Any]) -> Path:
    file = MODELS.parent / "local.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(resource, sort_keys=False))
    return file


def _here(path: Path) -> str:
    return os.path.relpath(path)


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "deepseek_operator.cli", "local", *arguments]


def _local(*arguments: str) -> None:
    """Run a command and show it."""
    console.print(f"\n[bold]$ deepseek local {shlex.join(arguments)}[/bold]")
    if code := subprocess.run(_command(arguments), check=False).returncode:
        raise ClusterError(f"deepseek local {arguments[0]} ended with exit code {code}")


def _output(*arguments: str) -> str:
    return subprocess.run(_command(arguments), check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(run("hack.local_demo", __doc__ or "", demo))
