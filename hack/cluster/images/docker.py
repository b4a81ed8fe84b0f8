"""Build of images with a Docker engine, for kind or for an external registry."""

import subprocess
from pathlib import Path

from hack.cluster.images.logged import run_logged
from hack.cluster.images.sources import REPOSITORY, ImageSource

# The default base image of the Dockerfiles; part of the keys of images built on it.
BASE = "docker.io/library/debian:12-slim"


def has_image(image: str) -> bool:
    """Return whether the engine has the image."""
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return found.returncode == 0


def build(source: ImageSource, image: str, log: Path) -> None:
    """Build the image of `source`; BuildKit's own cache keeps the layers below our code."""
    arguments = {"KERNELS": "kernels", "CUDA_ARCHS": source.cuda_archs} if source.cuda_archs else {}
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    options += ["--file", str(source.dockerfile), "--tag", image]
    run_logged(
        f"{source.name}: docker build",
        ["docker", "build", *options, str(REPOSITORY)],
        log,
        {"DOCKER_BUILDKIT": "1", "SOURCE_DATE_EPOCH": "0"},
    )


def push(image: str, log: Path) -> None:
    """Push to the registry in the image's name, with the engine's own credentials."""
    run_logged(f"push {image}", ["docker", "push", image], log)


def load_into_kind(image: str, cluster: str, log: Path) -> None:
    """Copy an image from the engine to the nodes of a kind cluster that lack it."""
    command = ["kind", "load", "docker-image", "--name", cluster, image]
    run_logged(f"kind load {image}", command, log)
