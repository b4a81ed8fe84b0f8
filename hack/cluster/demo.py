"""`make demo`: from nothing to an answer of a model, showing the commands that a user would type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.asking import (
    RANDOM,
    REAL_TOKENS,
    TINY_TOKENS,
    ask,
    example,
    from_hub,
    make_tiny,
    run,
    show,
)
from hack.cluster.faults import ClusterError
from hack.cluster.images.build import built_images
from hack.cluster.install import NAMESPACE as OPERATOR_NAMESPACE
from hack.cluster.install import RELEASE, install
from hack.cluster.kubectl import kubectl
from hack.cluster.progress import say
from hack.cluster.reach import service_address
from hack.cluster.target import Target, open_target
from hack.cluster.waiting import wait_until_ready

NAMESPACE = "default"
TINY_SECONDS, REAL_SECONDS = 300, 3600


def demo(model: str) -> None:
    """Bring everything up and ask a question.

    Args:
        model: A repository of the model hub; empty for a generated tiny model.

    Raises:
        ClusterError: a step failed.
    """
    target = open_target()
    if target.kind == "current" and not model:
        raise ClusterError(
            "CLUSTER=current: the demo cannot copy its tiny model to the nodes of an existing "
            "cluster; name a model of the hub: make demo CLUSTER=current "
            "MODEL=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B IMAGE_REGISTRY=registry.example.com/team"
        )
    target.up(("node", "registry"), egress=bool(model))
    install(target, built_images(target))
    resource = from_hub(model) if model else _tiny(target)
    name = resource["metadata"]["name"]
    show("The resource:", yaml.safe_dump(resource, sort_keys=False))
    kubectl(target, "apply", "--namespace", NAMESPACE, "--filename", "-", text=json.dumps(resource))
    try:
        ready = wait_until_ready(target, name, NAMESPACE, REAL_SECONDS if model else TINY_SECONDS)
    except ClusterError as error:
        hint = (
            "\nWithout a model hub: make demo, with no MODEL, makes a tiny model." if model else ""
        )
        raise ClusterError(f"{error}{hint}") from error
    show("kubectl get dsd", kubectl(target, "get", "dsd", name, "--namespace", NAMESPACE))
    with service_address(target, name, NAMESPACE) as address:
        served = ready["status"]["resolved"]["servedName"]
        ask(address, served, REAL_TOKENS if model else TINY_TOKENS)
    if not model:
        say(RANDOM)
    _what_next(target, name)


def _tiny(target: Target) -> dict[str, Any]:
    resource = example("tiny.yaml")
    place = resource["spec"]["model"]["source"]["hostPath"]
    place["path"] = _place(target, make_tiny())
    return resource


def _place(target: Target, directory: Path) -> str:
    """Copy a model's directory to where the node sees it; return its path there."""
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


def _what_next(target: Target, name: str) -> None:
    tool = Path(target.kubectl)
    kubeconfig = os.path.relpath(target.kubeconfig)
    show(
        "What to try next:",
        f"export KUBECONFIG={kubeconfig} PATH={tool.parent}:$PATH\n"
        f"kubectl describe dsd {name}\n"
        f"kubectl scale dsd {name} --replicas=2 && kubectl get dsd {name} --watch\n"
        f"kubectl delete deployment {name}    # it comes back\n"
        f"kubectl --namespace {OPERATOR_NAMESPACE} logs deployment/{RELEASE} --all-pods\n"
        "make demo MODEL=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B\n"
        "make cluster-down",
    )


if __name__ == "__main__":
    sys.exit(run("hack.cluster.demo", __doc__ or "", demo))
