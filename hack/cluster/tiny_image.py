"""Container images of one static program: the pause container, and programs that tests run in pods."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class TinyImage:
    """The parts of an OCI image."""

    manifest: bytes
    blobs: tuple[bytes, ...]


def tiny_image(program: Path) -> TinyImage:
    """Create an image that runs `program` from its root folder as an unprivileged user."""
    name = program.name
    layer = _tar({name: program.read_bytes()}, mode=0o755)
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [f"/{name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _describe(CONFIG_TYPE, config),
        "layers": [_describe(LAYER_TYPE, layer)],
    }
    return TinyImage(json.dumps(manifest).encode(), (config, layer))


def write_archive(image: TinyImage, name: str, target: Path) -> None:
    """Write an image as a tar archive that containerd imports under `name`."""
    entry = _describe(MANIFEST_TYPE, image.manifest)
    entry["annotations"] = {"io.containerd.image.name": name}
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
    }
    for blob in (*image.blobs, image.manifest):
        files["blobs/sha256/" + digest(blob).removeprefix("sha256:")] = blob
    target.write_bytes(_tar(files, mode=0o644))


def digest(blob: bytes) -> str:
    """Return the digest of a blob, which is its name."""
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _describe(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
