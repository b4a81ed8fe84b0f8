"""`make install` and `make uninstall`: the chart, with the images of this tree, in the cluster."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hack.cluster.faults import ClusterError
from hack.cluster.images.build import Images, built_images
from hack.cluster.kubectl import kubectl
from hack.cluster.progress import say, step
from hack.cluster.target import Target, open_target

RELEASE = "deepseek-operator"
NAMESPACE = "deepseek-system"
CHART = Path(__file__).resolve().parents[2] / "charts/deepseek-operator"
WAIT = "120s"


def install(target: Target, images: Images, values: Mapping[str, str] | None = None) -> None:
    """Install or upgrade the operator and wait until it is ready.

    Args:
        target: The cluster.
        images: The images of the operator and the model server.
        values: Additional values of the chart.

    Raises:
        ClusterError: Helm failed, or the operator did not become ready; contains its last logs.
    """
    _clear_interrupted(target)
    chosen = [
        *_image_values("image", images.operator),
        *_image_values("modelServer.image", images.server),
        *(
            word
            for name, value in (values or {}).items()
            for word in ("--set-string", f"{name}={value}")
        ),
    ]
    with step(f"helm upgrade --install {RELEASE} --namespace {NAMESPACE}"):
        result = _helm(
            target, "upgrade", "--install", RELEASE, str(CHART), "--create-namespace",
            "--wait", "--timeout", WAIT, *chosen,
        )  # fmt: skip
        if result.returncode:
            raise ClusterError(
                f"the operator was not installed: {result.stderr.strip()}\n{_last_words(target)}"
            )


def uninstall(target: Target) -> None:
    """Uninstall the operator; the CRD, and with it every DeepSeekDeployment, stays.

    Raises:
        ClusterError: Helm failed.
    """
    with step(f"helm uninstall {RELEASE} --namespace {NAMESPACE}"):
        result = _helm(target, "uninstall", RELEASE, "--ignore-not-found", "--wait")
        if result.returncode:
            raise ClusterError(f"the operator was not uninstalled: {result.stderr.strip()}")


def _clear_interrupted(target: Target) -> None:
    """Remove a release whose installation was killed: Helm would refuse to upgrade it."""
    result = _helm(target, "status", RELEASE, "--output", "json")
    if result.returncode == 0:
        status = json.loads(result.stdout)["info"]["status"]
        if status.startswith("pending"):
            say(f"the release {RELEASE} is {status} after a killed run: installing it again")
            uninstall(target)


def _image_values(place: str, image: str) -> list[str]:
    repository, _, tag = image.rpartition(":")
    return ["--set", f"{place}.repository={repository}", "--set-string", f"{place}.tag={tag}"]


def _last_words(target: Target) -> str:
    """Return the state and the last logs of the operator's pods, for the error message."""
    selector = f"app.kubernetes.io/instance={RELEASE}"
    words = []
    for command in (["get", "pods"], ["logs", "--tail=20", "--all-containers"]):
        try:
            words.append(
                kubectl(target, *command, "--namespace", NAMESPACE, "--selector", selector)
            )
        except ClusterError as error:
            words.append(str(error))
    return "\n".join(words)


def _helm(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [target.helm, *arguments, "--kubeconfig", target.kubeconfig, "--namespace", NAMESPACE],
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    """Install or uninstall, according to the argument."""
    parser = argparse.ArgumentParser(prog="python -m hack.cluster.install", description=__doc__)
    parser.add_argument("action", choices=["install", "uninstall"])
    action = parser.parse_args().action
    try:
        target = open_target()
        if action == "install":
            install(target, built_images(target))
        else:
            uninstall(target)
    except ClusterError as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
