"""The Debian base image, made from Debian's packages where no public registry is available."""

import hashlib
import os
from pathlib import Path

from hack.cluster.images.buildah import Store
from hack.cluster.images.logged import run_logged

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3")
# `apt` is the smallest variant in which a Dockerfile can install something.
VARIANT = "apt"
KEY = hashlib.sha256("\0".join((SUITE, VARIANT, *PACKAGES)).encode()).hexdigest()[:16]
IMAGE = f"localhost/debian-python:{KEY}"


def ensure_base(store: Store, cache: Path, log: Path) -> str:
    """Build the base image once; later calls find it in the store, or its tarball in the cache.

    Args:
        store: The target store.
        cache: Folder for the tarball.
        log: File for the tools' output.

    Returns:
        The image's reference in the store.

    Raises:
        ClusterError: mmdebstrap or buildah failed.
    """
    if store.has(IMAGE):
        return IMAGE
    tarball = cache / f"{SUITE}-{KEY}.tar"
    if not tarball.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = tarball.with_suffix(f".{os.getpid()}.part.tar")
        run_logged(
            f"Debian {SUITE} base",
            [
                "mmdebstrap",
                f"--variant={VARIANT}",
                f"--include={','.join(PACKAGES)}",
                SUITE,
                str(unfinished),
            ],
            log,
            {"SOURCE_DATE_EPOCH": "0"},
        )
        unfinished.rename(tarball)
    store.import_tree(tarball, IMAGE, log)
    return IMAGE
