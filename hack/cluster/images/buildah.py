"""Build and push of images with Debian's buildah: no Docker engine, no daemon.

The project has its own store, so other images of the machine are not affected.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.images.logged import run_logged
from hack.cluster.images.sources import REPOSITORY, ImageSource

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
UV_CACHE_IN_BUILD = "/mnt/uv"


@dataclass(frozen=True)
class Store:
    """An image store of buildah.

    Attributes:
        root: Folder that holds it.
        uv_cache: The host's uv cache, shared with builds: torch alone is gigabytes.
    """

    root: Path
    uv_cache: Path

    def __post_init__(self) -> None:
        """Create the scratch folder: without it every buildah command fails."""
        self._scratch.mkdir(parents=True, exist_ok=True)

    def has(self, image: str) -> bool:
        """Return whether the store has an image of this reference."""
        found = subprocess.run(
            self._command("inspect", "--type", "image", image),
            env=self._environment(),
            capture_output=True,
            check=False,
        )
        return found.returncode == 0

    def import_tree(self, tarball: Path, image: str, log: Path) -> None:
        """Create a single-layer image from a tarball of a root file system."""
        self._clear_interrupted()
        container = self._output("from", "scratch")
        try:
            self._step(
                f"import {tarball.name}", log, "add", "--quiet", container, str(tarball), "/"
            )
            self._step(
                f"commit {image}", log, "commit", "--quiet", "--timestamp", "0", container, image
            )
        finally:
            self._output("rm", container)

    def build(self, source: ImageSource, base: str, image: str, log: Path) -> None:
        """Build the image of `source` under the reference `image`, reusing the layers below our code."""
        self._clear_interrupted()
        dependencies = f"localhost/{source.name}-dependencies:{source.dependencies_key(base)}"
        if not self.has(dependencies):
            self._build(
                f"{source.name}: dependencies",
                source,
                base,
                log,
                ["--target", "dependencies", "--tag", dependencies],
            )
        layers = ["--build-arg", f"DEPENDENCIES={dependencies}"]
        kernels = "none"
        if source.cuda_archs:
            kernels = f"localhost/{source.name}-kernels:{source.kernels_key(base)}"
            archs = ["--build-arg", f"CUDA_ARCHS={source.cuda_archs}"]
            if not self.has(kernels):
                self._build(
                    f"{source.name}: kernels for {source.cuda_archs}",
                    source,
                    base,
                    log,
                    [*layers, *archs, "--target", "kernels", "--tag", kernels],
                )
            self._forget_others(kernels)
        self._build(
            f"{source.name}: code",
            source,
            base,
            log,
            [*layers, "--build-arg", f"KERNELS={kernels}", "--tag", image],
        )
        self._forget_others(dependencies)
        self._forget_others(image)

    def build_folder(
        self, context: Path, dockerfile: Path, base: str, image: str, log: Path
    ) -> None:
        """Build a single-stage recipe from a self-contained folder."""
        self._clear_interrupted()
        self._step(
            image.removeprefix("localhost/"),
            log,
            "build",
            "--timestamp=0",
            "--network=host",
            f"--volume={CA_BUNDLE}:{CA_BUNDLE}:ro",
            f"--build-arg=BASE={base}",
            f"--file={dockerfile}",
            "--tag",
            image,
            str(context),
        )
        self._forget_others(image)

    def push(self, image: str, destination: str, *, plain_http: bool, log: Path) -> None:
        """Push an image; layers that the registry already has are not sent again."""
        self._step(
            f"push {destination}",
            log,
            "push",
            f"--tls-verify={'false' if plain_http else 'true'}",
            "--format=oci",
            # Level 1: with a local registry, the CPU is the bottleneck, not the bytes.
            "--compression-format=zstd",
            "--compression-level=1",
            image,
            f"docker://{destination}",
        )

    def _build(
        self, title: str, source: ImageSource, base: str, log: Path, options: list[str]
    ) -> None:
        self.uv_cache.mkdir(parents=True, exist_ok=True)
        # No `--layers`: buildah 1.28 loses a `--mount=from=stage` whose stage it found in its cache.
        # The two images of `build` are the cache instead.
        self._step(
            title,
            log,
            "build",
            "--timestamp=0",
            "--network=host",
            f"--volume={CA_BUNDLE}:{CA_BUNDLE}:ro",
            f"--volume={self.uv_cache}:{UV_CACHE_IN_BUILD}",
            f"--build-arg=UV_CACHE_DIR={UV_CACHE_IN_BUILD}",
            f"--build-arg=BASE={base}",
            f"--file={source.dockerfile}",
            *options,
            str(REPOSITORY),
        )

    def _clear_interrupted(self) -> None:
        """Remove the remains of a killed build: its containers, mounts and incomplete layers."""
        self._output("rm", "--all")
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)

    def _forget_others(self, image: str) -> None:
        """Delete images of the same name with another tag: each wastes gigabytes."""
        name = image.rpartition(":")[0]
        tags = self._output(
            "images", "--format", "{{.Name}}:{{.Tag}}", "--filter", f"reference={name}"
        )
        others = [tag for tag in tags.split() if tag != image]
        if others:
            self._output("rmi", *others)

    def _step(self, title: str, log: Path, *arguments: str) -> None:
        run_logged(title, self._command(*arguments), log, self._environment())

    def _output(self, *arguments: str) -> str:
        return subprocess.run(
            self._command(*arguments),
            env=self._environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    def _command(self, *arguments: str) -> list[str]:
        return ["buildah", f"--root={self.root}/root", f"--runroot={self.root}/run", *arguments]

    def _environment(self) -> dict[str, str]:
        # chroot is the isolation that works everywhere, also without systemd and user namespaces.
        return os.environ | {
            "STORAGE_DRIVER": "overlay",
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(self._scratch),
        }

    @property
    def _scratch(self) -> Path:
        return self.root / "tmp"


@contextmanager
def one_builder(cache: Path) -> Iterator[None]:
    """Serialize builds on this machine, so that a second one finds the result of the first."""
    path = cache / "images.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
