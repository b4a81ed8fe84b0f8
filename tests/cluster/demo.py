"""`make demo`: from nothing to an answer of a model, showing the commands that a person would type."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.faults import ClusterError
from tests.cluster.images.build import built_images
from tests.cluster.images.logged import run_logged
from tests.cluster.install import NAMESPACE as OPERATOR_NAMESPACE
from tests.cluster.install import RELEASE, install
from tests.cluster.kubectl import kubectl
from tests.cluster.progress import console, say, step
from tests.cluster.reach import service_address
from tests.cluster.target import Target, open_target
from tests.cluster.waiting import wait_until_ready

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
MODELS = REPOSITORY / ".cluster/models"
NAMESPACE = "default"
FAMILY = "deepseek-v3"
QUESTION = "What does a Kubernetes operator do? Answer in one sentence."
# Random weights have nothing to say that would be worth waiting for.
TINY_TOKENS, TINY_SECONDS = 24, 300
REAL_TOKENS, REAL_SECONDS = 512, 3600


def demo(model: str) -> None:
    """Bring everything up and ask a question.

    Args:
        model: A repository of the model hub; empty for a tiny model made on the spot.

    Raises:
        ClusterError: a step failed.
    """
    target = open_target()
    if target.kind == "current" and not model:
        raise ClusterError(
            "CLUSTER=current: the demo cannot put its tiny model on the nodes of a cluster that is "
            "not its own; name a model of the hub: make demo CLUSTER=current "
            "MODEL=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B IMAGE_REGISTRY=registry.example.com/team"
        )
    target.up(("node", "registry"), egress=bool(model))
    install(target, built_images(target))
    resource = _from_hub(model) if model else _tiny(target)
    name = resource["metadata"]["name"]
    _show("The resource:", yaml.safe_dump(resource, sort_keys=False))
    kubectl(target, "apply", "--namespace", NAMESPACE, "--filename", "-", text=json.dumps(resource))
    try:
        ready = wait_until_ready(target, name, NAMESPACE, REAL_SECONDS if model else TINY_SECONDS)
    except ClusterError as error:
        hint = (
            "\nWithout a model hub: make demo, with no MODEL, makes a tiny model." if model else ""
        )
        raise ClusterError(f"{error}{hint}") from error
    _show("kubectl get dsd", kubectl(target, "get", "dsd", name, "--namespace", NAMESPACE))
    with service_address(target, name, NAMESPACE) as address:
        served = ready["status"]["resolved"]["servedName"]
        _ask(address, served, REAL_TOKENS if model else TINY_TOKENS)
    if not model:
        say("(The tiny model's weights are random: any text is a right answer.)")
    _what_next(target, name)


def _from_hub(model: str) -> dict[str, Any]:
    resource = _example("minimal.yaml")
    resource["spec"]["model"]["id"] = model
    return resource


def _tiny(target: Target) -> dict[str, Any]:
    resource = _example("tiny.yaml")
    place = resource["spec"]["model"]["source"]["hostPath"]
    place["path"] = _place(target, _make_tiny())
    return resource


def _make_tiny() -> Path:
    run_logged(
        "making a DeepSeek-V3 of a few MB with random weights",
        [sys.executable, "-m", "tests.models", "--out", str(MODELS), FAMILY],
        MODELS / "log",
    )
    directory = MODELS / FAMILY
    # The pod runs as another user than this machine's.
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def _place(target: Target, directory: Path) -> str:
    """Put a model's directory where the node sees it; return its path there."""
    if target.kind == "embedded":  # The node shares this machine's file system.
        return str(directory)
    node, path = f"{target.kind_cluster}-control-plane", f"/models/{directory.name}"
    for command in (
        ["exec", node, "mkdir", "-p", path],
        ["cp", f"{directory}/.", f"{node}:{path}"],
    ):
        result = subprocess.run(["docker", *command], capture_output=True, text=True, check=False)
        if result.returncode:
            raise ClusterError(f"docker {command[0]} {node}: {result.stderr.strip()}")
    return path


def _example(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((EXAMPLES / name).read_text()))


def _ask(address: str, model: str, tokens: int) -> None:
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
    _show("The question:", shlex.join(command))
    with step("waiting for the answer"):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(result.stdout)["choices"][0]["message"]["content"]
    except (ValueError, KeyError) as error:
        raise ClusterError(f"no answer: {result.stdout}{result.stderr}") from error
    _show("The answer:", answer)


def _what_next(target: Target, name: str) -> None:
    tool = Path(target.kubectl)
    kubeconfig = os.path.relpath(target.kubeconfig)
    _show(
        "What to try next:",
        f"export KUBECONFIG={kubeconfig} PATH={tool.parent}:$PATH\n"
        f"kubectl describe dsd {name}\n"
        f"kubectl scale dsd {name} --replicas=2 && kubectl get dsd {name} --watch\n"
        f"kubectl delete deployment {name}    # it comes back\n"
        f"kubectl --namespace {OPERATOR_NAMESPACE} logs deployment/{RELEASE} --all-pods\n"
        "make demo MODEL=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B\n"
        "make cluster-down",
    )


def _show(title: str, text: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    console.print(text.rstrip(), markup=False)


def main() -> int:
    """Run the demo; a failure is told in words."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.demo", description=__doc__)
    parser.add_argument("--model", default="", help="repository of the model hub; default: tiny")
    try:
        demo(parser.parse_args().model)
    except ClusterError as error:
        say(f"\n{error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
