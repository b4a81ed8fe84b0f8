"""Checks of one machine: prerequisites of the model server."""

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_operator.cli.doctor.finding import Finding
from deepseek_operator.cli.doctor.gpus import OLDEST_DRIVER

GB, GIB = 10**9, 2**30
# Supported versions, as in pyproject.toml.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
# Needs of the smallest distilled model (1.5 billion parameters): its download; float32 on a CPU.
LEAST_DISK, LEAST_MEMORY = 4 * GB, 8 * GIB


@dataclass(frozen=True)
class Gpu:
    """A GPU as reported by its driver.

    Attributes:
        name: Product name.
        memory: Total memory in MiB.
        used: Memory in use by all processes, in MiB.
    """

    name: str
    memory: int
    used: int


@dataclass(frozen=True)
class Host:
    """The facts of a machine.

    Attributes:
        python: Version of Python.
        gpus: GPUs that the driver reports.
        driver: Version of the driver; empty if there is none.
        driver_problem: Error of the driver; empty if it works.
        hardware: True if there is an NVIDIA GPU, with or without a driver.
        disk: Free bytes on the disk of `cache`.
        cache: Directory of the hub's cache.
        memory: Available bytes of main memory.
        installed: Total bytes of main memory.
        packages: Versions of torch and transformers, as far as they are installed.
        server: Version of the model server; empty if it can't be imported.
        cuda: CUDA version of torch; empty if torch was built for CPUs.
        engines: Container engines by name: None if the engine responds, else its error.
    """

    python: tuple[int, int]
    gpus: tuple[Gpu, ...]
    driver: str
    driver_problem: str
    hardware: bool
    disk: int
    cache: str
    memory: int
    installed: int
    packages: dict[str, str]
    server: str
    cuda: str
    engines: dict[str, str | None]


def driver(machine: Host) -> Iterator[Finding]:
    """Check that the driver works and is new enough."""
    check = "GPU driver"
    if machine.driver_problem:
        fix = "Reboot after a driver upgrade, or reinstall the driver; details: dmesg | grep -i nvidia."
        yield Finding(check, "problem", f"nvidia-smi fails: {machine.driver_problem}", fix)
    elif not machine.driver:
        if machine.hardware:
            fix = f"Install NVIDIA's driver {OLDEST_DRIVER} or newer."
            yield Finding(check, "problem", "The machine has an NVIDIA GPU but no driver.", fix)
        else:
            yield Finding(
                check,
                "warning",
                "No GPU found: models run on the CPU, slowly.",
                "Use a small model.",
            )
    elif int(machine.driver.split(".")[0]) < OLDEST_DRIVER:
        message = (
            f"The version is {machine.driver}; torch for CUDA 13 needs {OLDEST_DRIVER} or newer."
        )
        yield Finding(
            check, "problem", message, "Upgrade the driver, or install torch for an older CUDA."
        )
    else:
        yield Finding(check, "ok", f"Version {machine.driver} works.")


def gpus(machine: Host) -> Iterator[Finding]:
    """Check the free memory of each GPU."""
    for place, gpu in enumerate(machine.gpus):
        check = f"GPU {place}"
        left = gpu.memory - gpu.used
        message = f"{gpu.name}, {left / 1024:.1f} of {gpu.memory / 1024:.1f} GiB free."
        if left < gpu.memory / 2:
            yield Finding(
                check, "warning", message, "Run nvidia-smi to see which processes use it."
            )
        else:
            yield Finding(check, "ok", message)


def disk(machine: Host) -> Iterator[Finding]:
    """Check that the disk has space for the smallest model."""
    message = f"{machine.disk / GB:.0f} GB are free at {machine.cache}, the download directory."
    if machine.disk < LEAST_DISK:
        fix = "Free disk space, or set HF_HOME to a directory on a larger disk."
        yield Finding(
            "disk", "problem", f"{message} The smallest model needs {LEAST_DISK / GB:.0f} GB.", fix
        )
    else:
        yield Finding("disk", "ok", message)


def memory(machine: Host) -> Iterator[Finding]:
    """Check that the memory is enough for the smallest model."""
    message = f"{machine.memory / GIB:.1f} of {machine.installed / GIB:.1f} GiB are available."
    if machine.memory < LEAST_MEMORY and not machine.gpus:
        message = f"{message} On the CPU the smallest model needs {LEAST_MEMORY / GIB:.0f} GiB."
        yield Finding("memory", "warning", message, "Close other programs, or use another machine.")
    else:
        yield Finding("memory", "ok", message)


def software(machine: Host) -> Iterator[Finding]:
    """Check that Python, torch and the server are installed and compatible."""
    python = ".".join(map(str, machine.python))
    if not OLDEST_PYTHON <= machine.python <= NEWEST_PYTHON:
        fix = f"Use Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} to {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]}."
        yield Finding("Python", "problem", f"Version {python} is not supported.", fix)
    else:
        yield Finding("Python", "ok", f"Version {python} is supported.")
    install = "Run pip install '.[gpu]' in a checkout, or '.[server]' without a GPU."
    missing = [name for name in ("torch", "transformers") if name not in machine.packages]
    if missing or not machine.server:
        names = ", ".join(missing or ["deepseek_server"])
        yield Finding("model server", "problem", f"{names} can't be imported.", install)
        return
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.packages.items()))
    if machine.gpus and not machine.cuda:
        message = f"torch {machine.packages['torch']} was built for CPUs and can't use the GPU."
        yield Finding("model server", "problem", message, install)
    else:
        yield Finding("model server", "ok", f"deepseek-server {machine.server} with {versions}.")


def container_engine(machine: Host) -> Iterator[Finding]:
    """Check that a container engine responds; only images and kind need one."""
    check = "container engine"
    answering = [name for name, problem in machine.engines.items() if problem is None]
    if answering:
        yield Finding(check, "ok", f"{', '.join(answering)} responds.")
    elif machine.engines:
        message = "; ".join(f"{name}: {problem}" for name, problem in machine.engines.items())
        yield Finding(
            check,
            "warning",
            f"No container engine responds ({message}).",
            "Start it, or run the server without containers.",
        )
    else:
        yield Finding(check, "ok", "None installed; only images and kind clusters need one.")


CHECKS = (driver, gpus, disk, memory, software, container_engine)
