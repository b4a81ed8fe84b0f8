"""Variables that containers of several engines have in common."""

from deepseek_operator.plan.engines.program import CACHE_MOUNT, Serving


def of_hub() -> dict[str, str]:
    """Where downloads are kept."""
    return {
        "HF_HOME": CACHE_MOUNT,
        # Pieces of files that nobody will download again: 10 GB by default.
        "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",
    }


def of_gpus(serving: Serving) -> dict[str, str]:
    """What programs on GPUs are told."""
    if not serving.on_gpus:
        return {}
    # Kernels that are compiled at the first start outlive a restart of the container.
    found = {"TRITON_CACHE_DIR": f"{CACHE_MOUNT}/triton"}
    if serving.split.gpus > 1 and serving.split.pods == 1:
        # The processes of a pod meet on its own loopback, whatever a mesh or a policy does to
        # its network; data goes from GPU to GPU or through /dev/shm, as fast as before.
        found |= {"NCCL_SOCKET_IFNAME": "=lo", "GLOO_SOCKET_IFNAME": "lo"}
    return found


def of_foreign_image(serving: Serving) -> dict[str, str]:
    """What makes an image that was built for root run as anybody, on a read-only root.

    All that it writes lands on the volume for downloads, whichever of its libraries does it. PyTorch
    asks for the user's name, which a number without an entry in /etc/passwd has only by a variable
    (https://github.com/kserve/kserve/issues/5666).
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
        # Nothing but a volume is reached from the pod: asking would only take time.
        return {"HF_HUB_OFFLINE": "1"}
    return {"HF_ENDPOINT": serving.hub} if serving.hub else {}
