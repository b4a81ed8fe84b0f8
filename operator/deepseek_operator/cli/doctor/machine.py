"""Checks of one machine: whether a model server runs on it."""

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_operator.cli.doctor.finding import Finding
from deepseek_operator.cli.doctor.gpus import OLDEST_DRIVER

GB, GIB = 10**9, 2**30
# Of pyproject.toml.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
# What the smallest distilled model (1.5 billion parameters) takes: its download; in float32 on a CPU.
LEAST_DISK, LEAST_MEMORY = 4 * GB, 8 * GIB


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver tells of it.

    Attributes:
        memory: In MiB.
        used: Of that, by everybody.
    """

    name: str
    memory: int
    used: int


@dataclass(frozen=True)
class Machine:
    """A machine.

    Attributes:
        gpus: Those that the driver has.
        driver: Its version, empty where there is none.
        driver_problem: What it says where it does not work.
        hardware: Whether there is a GPU of NVIDIA, driver or not.
        disk: Bytes free where the hub's cache is, which is at `cache`.
        memory: Bytes that processes can get, of `installed`.
        packages: Versions of torch and transformers, as far as they are there.
        server: Version of the model server, empty where it can't be imported.
        cuda: Of torch, empty where it was built for CPUs.
        engines: Container engines by name: None where one answers, else why not.
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


def driver(machine: Machine) -> Iterator[Finding]:
    """The driver works and is new enough."""
    check = "GPU driver"
    if machine.driver_problem:
        fix = "Reboot after an upgrade of the driver, or install it anew; dmesg | grep -i nvidia says more."
        yield Finding(check, "problem", f"nvidia-smi fails: {machine.driver_problem}", fix)
    elif not machine.driver:
        if machine.hardware:
            fix = f"Install NVIDIA's driver {OLDEST_DRIVER} or newer."
            yield Finding(check, "problem", "There is a GPU of NVIDIA and no driver.", fix)
        else:
            yield Finding(
                check,
                "warning",
                "No GPU was found: models run on the CPU, slowly.",
                "Take a small one.",
            )
    elif int(machine.driver.split(".")[0]) < OLDEST_DRIVER:
        message = f"It is {machine.driver}; torch for CUDA 13 needs {OLDEST_DRIVER} or newer."
        yield Finding(
            check, "problem", message, "Upgrade the driver, or install torch for an older CUDA."
        )
    else:
        yield Finding(check, "ok", f"{machine.driver} works.")


def gpus(machine: Machine) -> Iterator[Finding]:
    """GPUs and what is free of their memory."""
    for place, gpu in enumerate(machine.gpus):
        check = f"GPU {place}"
        left = gpu.memory - gpu.used
        said = f"{gpu.name}, {left / 1024:.1f} of {gpu.memory / 1024:.1f} GiB free."
        if left < gpu.memory / 2:
            yield Finding(check, "warning", said, "nvidia-smi names the processes that hold it.")
        else:
            yield Finding(check, "ok", said)


def disk(machine: Machine) -> Iterator[Finding]:
    """A model finds room."""
    said = f"{machine.disk / GB:.0f} GB are free at {machine.cache}, where downloads go."
    if machine.disk < LEAST_DISK:
        fix = "Make room, or set HF_HOME to a directory that has some."
        yield Finding(
            "disk", "problem", f"{said} The smallest model takes {LEAST_DISK / GB:.0f} GB.", fix
        )
    else:
        yield Finding("disk", "ok", said)


def memory(machine: Machine) -> Iterator[Finding]:
    """A model finds memory."""
    said = f"{machine.memory / GIB:.1f} of {machine.installed / GIB:.1f} GiB can be had."
    if machine.memory < LEAST_MEMORY and not machine.gpus:
        message = f"{said} On the CPU the smallest model takes {LEAST_MEMORY / GIB:.0f} GiB."
        yield Finding("memory", "warning", message, "End other programs, or take another machine.")
    else:
        yield Finding("memory", "ok", said)


def software(machine: Machine) -> Iterator[Finding]:
    """Python, torch and the server are there and fit each other."""
    python = ".".join(map(str, machine.python))
    if not OLDEST_PYTHON <= machine.python <= NEWEST_PYTHON:
        fix = f"Use Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} to {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]}."
        yield Finding("Python", "problem", f"It is {python}.", fix)
    else:
        yield Finding("Python", "ok", f"It is {python}.")
    install = "pip install '.[gpu]' in a checkout, or '.[server]' without a GPU."
    missing = [name for name in ("torch", "transformers") if name not in machine.packages]
    if missing or not machine.server:
        names = ", ".join(missing or ["deepseek_server"])
        yield Finding("model server", "problem", f"{names} can't be imported.", install)
        return
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.packages.items()))
    if machine.gpus and not machine.cuda:
        message = f"torch {machine.packages['torch']} was built for CPUs and sees no GPU."
        yield Finding("model server", "problem", message, install)
    else:
        yield Finding("model server", "ok", f"deepseek-server {machine.server} with {versions}.")


def container_engine(machine: Machine) -> Iterator[Finding]:
    """An engine of containers answers; only some ways to run need one."""
    check = "container engine"
    answering = [name for name, problem in machine.engines.items() if problem is None]
    if answering:
        yield Finding(check, "ok", f"{', '.join(answering)} answers.")
    elif machine.engines:
        said = "; ".join(f"{name}: {problem}" for name, problem in machine.engines.items())
        yield Finding(
            check,
            "warning",
            f"None answers ({said}).",
            "Start it, or run the server without containers.",
        )
    else:
        yield Finding(check, "ok", "There is none, and the server needs none (images and kind do).")


CHECKS = (driver, gpus, disk, memory, software, container_engine)
