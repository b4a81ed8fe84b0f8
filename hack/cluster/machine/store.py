"""What outlives a cluster: containerd's images and the registry's data, by name in the cache.

One cluster at a time can use a store, because containerd opens its database for itself alone.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hack.cluster.faults import ClusterError
from hack.cluster.toolchain import cache_dir

DEFAULT_STORE = "default"


def store_path(name: str) -> Path:
    """Where the store of that name is."""
    return cache_dir() / "stores" / name


def claim(store: Path, owner: Path) -> int:
    """Take a store for as long as the returned file descriptor is open.

    Args:
        store: its folder, created if need be.
        owner: the state directory of the cluster that takes it.

    Raises:
        ClusterError: another cluster has it.
    """
    store.mkdir(parents=True, exist_ok=True)
    handle = os.open(store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 4096).decode()
        os.close(handle)
        raise ClusterError(
            f"the image store {store} is in use by the cluster of {holder}: bring that one down "
            f"(python -m hack.cluster down --state {holder}), or choose another with --store NAME"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, str(owner).encode())
    return handle
