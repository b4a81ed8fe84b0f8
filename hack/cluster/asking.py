"""Functions shared by the demos: the model, the question, and the output."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.faults import ClusterError
from hack.cluster.images.logged import run_logged
from hack.cluster.progress import console, say, step

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
MODELS = REPOSITORY / ".cluster/models"
FAMILY = "deepseek-v3"
QUESTION = "What does a Kubernetes operator do? Answer in one sentence."
# Random weights give meaningless answers, so keep them short.
TINY_TOKENS, REAL_TOKENS = 24, 512
RANDOM = "(The tiny model's weights are random: any text is a right answer.)"


def example(name: str) -> dict[str, Any]:
    """Return a resource of examples/."""
    return dict(yaml.safe_load((EXAMPLES / name).read_text()))


def from_hub(model: str) -> dict[str, Any]:
    """Return a resource for a repository of the model hub."""
    resource = example("minimal.yaml")
    resource["spec"]["model"]["id"] = model
    return resource


def make_tiny() -> Path:
    """Make the tiny model and return its directory."""
    run_logged(
        "making a DeepSeek-V3 of a few MB with random weights",
        [sys.executable, "-m", "hack.models", "--out", str(MODELS), FAMILY],
        MODELS / "log",
    )
    directory = MODELS / FAMILY
    # The pod runs as another user than this machine's.
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def ask(address: str, model: str, tokens: int) -> None:
    """Send the question with curl, and show command and answer.

    Raises:
        ClusterError: the request failed.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": tokens,
    }
    command = [
        "curl", "--silent", "--show-error", "--max-time", "600",
        f"http://{address}/v1/chat/completions",
        "--header", "Content-Type: application/json", "--data", json.dumps(body),
    ]  # fmt: skip
    show("The question:", shlex.join(command))
    with step("waiting for the answer"):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(result.stdout)["choices"][0]["message"]["content"]
    except (ValueError, KeyError) as error:
        raise ClusterError(f"no answer: {result.stdout}{result.stderr}") from error
    show("The answer:", answer)


def show(title: str, text: str) -> None:
    """Print text below a title."""
    console.print(f"\n[bold]{title}[/bold]")
    console.print(text.rstrip(), markup=False)


def run(program: str, description: str, demo: Callable[[str], None]) -> int:
    """Run a demo with the model of the command line; print a failure as a message."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--model", default="", help="repository of the model hub; default: tiny")
    try:
        demo(parser.parse_args().model)
    except ClusterError as error:
        say(f"\n{error}")
        return 2
    return 0
