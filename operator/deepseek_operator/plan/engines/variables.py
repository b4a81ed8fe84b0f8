"""Environment variables that several engines share."""

from deepseek_operator.plan.engines.program import CACHE_MOUNT, Serving


def of_hub() -> dict[str, str]:
    """Return the variables for the download cache."""
    return {
        "HF_HOME": CACHE_MOUNT,
        # No chunk cache: 10 GB by default, for chunks that are never downloaded again.
        "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",
    }


def of_gpus(serving: Serving) -> dict[str, str]:
    """Return the variables for engines on GPUs."""
    if not serving.on_gpus:
        return {}
    # Kernels compiled at the first start survive a restart of the container.
    found = {"TRITON_CACHE_DIR": f"{CACHE_MOUNT}/triton"}
    if serving.split.gpus > 1 and serving.split.pods == 1:
        # The processes of a pod connect over loopback, independent of meshes and policies; data
        # still travels from GPU to GPU or through /dev/shm, at full speed.
        found |= {"NCCL_SOCKET_IFNAME": "=lo", "GLOO_SOCKET_IFNAME": "lo"}
    return found


def of_foreign_image(serving: Serving) -> dict[str, str]:
    """Return the variables with which an image built for root runs as any user on a read-only root.

    All libraries write to the volume for downloads. PyTorch looks up the user name, which a UID without
    an entry in /etc/passwd has only by a variable (https://github.com/kserve/kserve/issues/5666).
    """
    return {
        "HOME": CACHE_MOUNT,
        "USER": "model",
        "XDG_CACHE_HOME": CACHE_MOUNT,
        "XDG_CONFIG_HOME": f"{CACHE_MOUNT}/config",
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE_MOUNT}/inductor",
        **of_hub(),
        **of_gpus(serving),
        **_hub_of(serving),
    }


def _hub_of(serving: Serving) -> dict[str, str]:
    if serving.revision is None:
        # The weights are on a volume and the hub is not reachable: avoid timeouts.
        return {"HF_HUB_OFFLINE": "1"}
    return {"HF_ENDPOINT": serving.hub} if serving.hub else {}
