"""kubectl and Helm: those on PATH for clusters that are not ours, built ones where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

from hack.cluster.toolchain import build

GROUPS = {"kubectl": "kubernetes", "helm": "helm"}


def tool(name: str) -> Path:
    """The path of `kubectl` or `helm`.

    Raises:
        ClusterError: it is not installed and cannot be built.
    """
    found = shutil.which(name)
    if found:
        return Path(found)
    return build([GROUPS[name]])[GROUPS[name]] / "bin" / name
