"""Persistent data of clusters: containerd's images and the registry's data, by name in the cache.

Only one cluster at a time can use a store, because containerd opens its database exclusively.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hack.cluster.faults import ClusterError
from hack.cluster.toolchain import cache_dir

DEFAULT_STORE = "default"


def store_path(name: str) -> Path:
    """Return the path of a store."""
    return cache_dir() / "stores" / name


def claim(store: Path, owner: Path) -> int:
    """Lock a store as long as the returned file descriptor is open.

    Args:
        store: its folder, created if missing.
        owner: the state directory of the cluster that uses it.

    Raises:
        ClusterError: another cluster uses it.
    """
    store.mkdir(parents=True, exist_ok=True)
    handle = os.open(store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 4096).decode()
        os.close(handle)
        raise ClusterError(
            f"the image store {store} is in use by the cluster of {holder}: stop that cluster "
            f"(python -m hack.cluster down --state {holder}), or choose another with --store NAME"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, str(owner).encode())
    return handle
