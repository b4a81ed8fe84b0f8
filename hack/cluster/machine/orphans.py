"""Removal of the containers that a stopped cluster has left in containerd's store; images stay.

It runs as a program before the cluster's own containerd, whose CRI plug-in would otherwise restore
the old containers at startup.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SOCKET = Path("/run/orphans.sock")
PATIENCE = 15.0  # seconds


def remove(root: Path) -> None:
    """Remove all containers from the store at `root`."""
    if not (root / "io.containerd.metadata.v1.bolt" / "meta.db").exists():
        return
    config = SOCKET.with_suffix(".toml")
    config.write_text(
        f'version = 2\nroot = "{root}"\nstate = "/run/orphans"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{SOCKET}"\n'
    )
    daemon = subprocess.Popen(["containerd", "--config", str(config)])
    try:
        deadline = time.monotonic() + PATIENCE
        while not SOCKET.exists():
            if daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit("containerd did not start with its store")
            time.sleep(0.05)
        containers = _ctr("list", "--quiet").split()
        if containers:
            _ctr("remove", *containers)
    finally:
        daemon.terminate()
        daemon.wait()


def _ctr(*arguments: str) -> str:
    command = ["ctr", "--address", str(SOCKET), "--namespace", "k8s.io", "containers", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    remove(Path(sys.argv[1]))
