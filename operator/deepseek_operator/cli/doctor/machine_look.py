"""Collection of the facts of this machine."""

import os
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from deepseek_operator.cli.doctor.machine import Gpu, Host

ENGINES = ("docker", "podman", "nerdctl")
QUERY = "name,memory.total,memory.used,driver_version"
PATIENCE = 20.0  # seconds
NVIDIA = "0x10de"


def look() -> Host:
    """Gather the facts of this machine."""
    gpus, driver, problem = _gpus()
    cache = _cache()
    memory = psutil.virtual_memory()
    packages = {name: found for name in ("torch", "transformers") if (found := _version(name))}
    return Host(
        python=sys.version_info[:2],
        gpus=gpus,
        driver=driver,
        driver_problem=problem,
        hardware=_hardware(Path("/sys/bus/pci/devices")),
        disk=shutil.disk_usage(_existing(cache)).free,
        cache=str(cache),
        memory=memory.available,
        installed=memory.total,
        packages=packages,
        server=_version("deepseek-operator") if find_spec("deepseek_server") else "",
        cuda=_cuda(),
        engines={name: _engine(name) for name in ENGINES if shutil.which(name)},
    )


def parse(table: str) -> tuple[tuple[Gpu, ...], str]:
    """Parse the output of `nvidia-smi --query-gpu` without units into GPUs and driver version.

    Raises:
        ValueError: The text is not such output.
    """
    rows = [
        [cell.strip() for cell in line.split(",")] for line in table.splitlines() if line.strip()
    ]
    gpus = tuple(Gpu(name, int(total), int(used)) for name, total, used, _ in rows)
    return gpus, rows[0][3] if rows else ""


def _gpus() -> tuple[tuple[Gpu, ...], str, str]:
    """Return the GPUs, the driver's version, and the driver's error."""
    if not shutil.which("nvidia-smi"):
        return (), "", ""
    result = _run("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits")
    if isinstance(result, str):
        return (), "", result
    try:
        gpus, driver = parse(result.stdout)
    except ValueError:
        return (), "", f"unexpected output: {' '.join(result.stdout.split())[:200]}"
    return gpus, driver, ""


def _engine(name: str) -> str | None:
    """Return the error of a container engine; None if it responds."""
    result = _run(name, "info")
    return result if isinstance(result, str) else None


def _run(*command: str) -> "subprocess.CompletedProcess[str] | str":
    """Run a command and return its result, or an error message."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no response within {PATIENCE:.0f} s"
    except OSError as error:
        return str(error)
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        return lines[-1] if lines else f"exit code {result.returncode}"
    return result


def _hardware(devices: Path) -> bool:
    """Return True if the PCI bus has an NVIDIA device."""
    vendors = (file.read_text(encoding="ascii").strip() for file in devices.glob("*/vendor"))
    return NVIDIA in vendors


def _cache() -> Path:
    """Return the cache directory of the hub client."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cuda() -> str:
    """Return torch's CUDA version from its version file, because importing torch takes seconds."""
    torch = find_spec("torch")
    places = torch.submodule_search_locations if torch else None
    file = Path(places[0]) / "version.py" if places else None
    if file is None or not file.exists():
        return ""
    return str(runpy.run_path(str(file)).get("cuda") or "")
