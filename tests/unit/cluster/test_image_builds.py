"""The builds of an image, and their arguments for the GPUs to compile kernels for."""

from dataclasses import replace
from pathlib import Path

import pytest

from hack.cluster.images import buildah, docker
from hack.cluster.images.sources import MODEL_SERVER

LOG = Path("log")
PLAIN = replace(MODEL_SERVER, cuda_archs="")
GPUS = replace(MODEL_SERVER, cuda_archs="8.0,9.0a")


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """Record commands instead of running them."""
    run: list[list[str]] = []
    for module in (docker, buildah):
        monkeypatch.setattr(module, "run_logged", lambda title, command, *rest: run.append(command))
    return run


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a store with the images of its set `held`."""
    store = buildah.Store(tmp_path, tmp_path / "uv")
    held: set[str] = set()
    monkeypatch.setattr(buildah.Store, "has", lambda self, image: image in held)
    monkeypatch.setattr(buildah.Store, "_output", lambda self, *arguments: "")
    return store, held


def arguments(command: list[str]) -> dict[str, str]:
    """Return the build arguments of a command."""
    words = iter(" ".join(command).replace("--build-arg=", "--build-arg ").split())
    pairs = [next(words) for word in words if word == "--build-arg"]
    return dict(pair.split("=", 1) for pair in pairs)


def tags(commands: list[list[str]]) -> list[str]:
    return [command[command.index("--tag") + 1].partition(":")[0] for command in commands]


def test_docker_compiles_kernels_only_if_gpus_are_named(commands):
    docker.build(PLAIN, "image", LOG)
    docker.build(GPUS, "image", LOG)
    plain, gpus = map(arguments, commands)
    assert plain == {}
    assert gpus == {"KERNELS": "kernels", "CUDA_ARCHS": "8.0,9.0a"}


def test_buildah_builds_two_layers_without_gpus(commands, store):
    store[0].build(PLAIN, "base", "localhost/image:1", LOG)
    assert tags(commands) == ["localhost/deepseek-server-dependencies", "localhost/image"]
    assert arguments(commands[-1])["KERNELS"] == "none"


def test_buildah_keeps_kernels_as_an_intermediate_image(commands, store):
    builder, held = store
    builder.build(GPUS, "base", "localhost/image:1", LOG)
    assert tags(commands) == [
        "localhost/deepseek-server-dependencies",
        "localhost/deepseek-server-kernels",
        "localhost/image",
    ]
    kernels = commands[1][commands[1].index("--tag") + 1]
    assert arguments(commands[1])["CUDA_ARCHS"] == "8.0,9.0a"
    assert arguments(commands[2])["KERNELS"] == kernels
    dependencies = arguments(commands[1])["DEPENDENCIES"]
    assert arguments(commands[2])["DEPENDENCIES"] == dependencies

    commands.clear()
    held.update({kernels, dependencies})
    builder.build(GPUS, "base", "localhost/image:2", LOG)
    assert tags(commands) == ["localhost/image"]
