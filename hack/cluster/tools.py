"""kubectl and Helm for existing clusters: those on PATH, or built ones if they are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

from hack.cluster.toolchain import build

GROUPS = {"kubectl": "kubernetes", "helm": "helm"}


def tool(name: str) -> Path:
    """Return the path of `kubectl` or `helm`.

    Raises:
        ClusterError: the program is not installed and cannot be built.
    """
    found = shutil.which(name)
    if found:
        return Path(found)
    return build([GROUPS[name]])[GROUPS[name]] / "bin" / name
