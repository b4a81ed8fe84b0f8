"""The image of probe pods, built from hack/cluster/builds/pods."""

from __future__ import annotations

import httpx

from hack.cluster.target import Target
from hack.cluster.tiny_image import MANIFEST_TYPE, digest, tiny_image
from hack.cluster.toolchain import build

NAME = "probe"


def push_probe(target: Target) -> str:
    """Push the image to the cluster's registry, and return its name for pods."""
    image = tiny_image(build(["pods"])["pods"] / "bin" / NAME)
    tag = digest(image.manifest).removeprefix("sha256:")[:12]
    base = f"http://{target.registry_push_host}/v2/{NAME}"
    with httpx.Client(trust_env=False) as client:
        for blob in image.blobs:
            upload = client.post(f"{base}/blobs/uploads/").raise_for_status().headers["Location"]
            where = httpx.URL(upload).copy_add_param("digest", digest(blob))
            client.put(where, content=blob).raise_for_status()
        headers = {"Content-Type": MANIFEST_TYPE}
        manifest = client.put(f"{base}/manifests/{tag}", content=image.manifest, headers=headers)
        manifest.raise_for_status()
    return f"{target.registry_name}/{NAME}:{tag}"
