"""Detection of this machine's hardware and of missing software."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil

from deepseek_operator.local.host import Gpu, Host

ASK_SECONDS = 20.0
GPU_QUERY = "uuid,name,memory.total,memory.used,compute_cap"
# Packages that the bundled server needs; representative of the extra `server`.
SERVER_NEEDS = ("torch", "transformers", "fastapi", "uvicorn", "huggingface_hub", "llguidance")
NO_LIMIT = 2**63
ENGINES = ("docker", "podman")


def look(disk: Path) -> Host:
    """Detect the machine's resources.

    Args:
        disk: The download directory; need not exist yet.
    """
    return Host(
        memory=min(psutil.virtual_memory().available, _memory_of_group()),
        cores=_cores(),
        disk=shutil.disk_usage(_existing(disk)).free,
        gpus=gpus(),
    )


def gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs; empty if the driver does not respond."""
    query = [f"--query-gpu={GPU_QUERY}", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return read_gpus(shown)


def read_gpus(shown: str) -> tuple[Gpu, ...]:
    """Parse the output of nvidia-smi; skip GPUs with missing values."""
    found = []
    for line in shown.splitlines():
        fields = [field.strip() for field in line.split(",")]
        try:
            uuid, name, memory, used, capability = fields
            found.append(Gpu(uuid, name, int(memory), int(used), capability))
        except ValueError:
            continue
    return tuple(found)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_of_group() -> int:
    """Return the bytes left under the memory limit of this process's cgroup (v2)."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        directory = Path("/sys/fs/cgroup") / own.lstrip("/")
        most = (directory / "memory.max").read_text().strip()
        taken = int((directory / "memory.current").read_text())
        counts = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        # The page cache counts as used although the kernel can reclaim it.
        taken -= int(counts.get("inactive_file", 0))
        return NO_LIMIT if most == "max" else max(int(most) - taken, 0)
    except (OSError, ValueError):
        return NO_LIMIT


def oom_kills() -> int:
    """Return the number of OOM kills since boot; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def missing() -> list[str]:
    """Return the packages that the bundled server needs and that are not installed."""
    return [name for name in SERVER_NEEDS if importlib.util.find_spec(name) is None]


def container_engine() -> str | None:
    """Return the first of docker and podman that responds; None if neither does."""
    for name in ENGINES:
        try:
            asked = subprocess.run(
                [name, "ps", "--quiet"],  # needs a working engine, not only its client
                capture_output=True,
                timeout=ASK_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.returncode == 0:
            return name
    return None


def hub_home() -> Path:
    """Return the home directory of the hub client, by the same variables that it reads."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or home / "huggingface").expanduser()


def hub_cache() -> Path:
    """Return the download directory of the hub client."""
    return Path(os.environ.get("HF_HUB_CACHE") or hub_home() / "hub").expanduser()


def downloaded(model_id: str) -> int:
    """Return the downloaded bytes of a repository, over all revisions."""
    blobs = hub_cache() / f"models--{model_id.replace('/', '--')}" / "blobs"
    return sum(file.stat().st_size for file in blobs.glob("*")) if blobs.is_dir() else 0


def config_of(directory: Path) -> dict[str, Any] | None:
    """Return the config.json of a directory; None if it can't be read."""
    try:
        content = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def listener(port: int) -> str:
    """Return a description of the process that listens on a port; empty if unknown."""
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                return f"{psutil.Process(found.pid).name()}, process {found.pid}"
    except (psutil.Error, OSError):
        return ""
    return ""


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
