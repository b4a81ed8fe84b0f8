"""Capacity checks of this machine: GPUs, memory, disk."""

from deepseek_operator.catalog.models import Model
from deepseek_operator.local.host import Host
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.sizing.pod_resources import GIB, Needs
from deepseek_operator.plan.sizing.refusals import DOES_NOT_FIT
from deepseek_operator.plan.state.refusal import Refusal

# Disk space that is kept free, for compiled kernels and other programs.
DISK_REST = GIB


def refused(
    desired: DesiredState, known: Model | None, needs: Needs, host: Host, downloaded: int
) -> Refusal | None:
    """Return a refusal with figures and with what would fit; None if the resource fits.

    Args:
        desired: The desired state.
        known: The model; None if its size is unknown.
        needs: Resource needs of one replica.
        host: Resources of the machine.
        downloaded: Bytes of the model that are already downloaded.
    """
    return (
        _gpus(desired, host)
        or _memory(desired, known, needs, host)
        or _disk(desired, known, host, downloaded)
    )


def _gpus(desired: DesiredState, host: Host) -> Refusal | None:
    if desired.gpus is None:
        return None
    kind, each = desired.gpus.profile or "GPU", desired.gpus.count * desired.pods
    free = len(host.of_kind(kind))
    if each * desired.replicas <= free:
        return None
    fitting = free // each
    alternatives = []
    if fitting:
        alternatives.append(f"{_replicas(fitting)} (--replicas {fitting})")
    elif free:
        alternatives.append(
            f"{free} GPUs per replica (accelerator.count {free}), if the model fits on them"
        )
    return Refusal(
        DOES_NOT_FIT,
        f"{_replicas(desired.replicas)} of {each} x {kind} need{'s' * (desired.replicas == 1)} "
        f"{each * desired.replicas} GPUs, but "
        f"this machine has only {free} free. {_instead([*alternatives, 'the CPU (--device cpu)'])}",
    )


def _memory(desired: DesiredState, known: Model | None, needs: Needs, host: Host) -> Refusal | None:
    whole = needs.memory * desired.replicas
    if whole <= host.memory:
        return None
    fitting = host.memory // needs.memory
    alternatives = [f"{_replicas(fitting)} (--replicas {fitting})"] if fitting else []
    parts = ""
    if known and desired.gpus is None:
        width = known.parameters * (2 if desired.sizing.dtype in ("bfloat16", "float16") else 4)
        kind = "float32" if desired.sizing.dtype == "auto" else desired.sizing.dtype
        parts = (
            f" ({_gb(width)} for the weights in {kind}, {_gb(needs.memory - width)} for the server "
            "and the KV cache)"
        )
        if kind == "float32" and needs.memory - width // 2 <= host.memory:
            alternatives.append("model.dtype bfloat16")
    each = "" if desired.replicas == 1 else f", {_gb(whole)} in total"
    return Refusal(
        DOES_NOT_FIT,
        f"{desired.model_id} does not fit into the memory of this machine. "
        f"{'A replica needs' if desired.replicas == 1 else f'Each of {desired.replicas} replicas needs'} "
        f"{_gb(needs.memory)}{parts}{each}, but only {_gb(host.memory)} are available. "
        f"{_instead([*alternatives, 'a smaller model'])}",
    )


def _disk(
    desired: DesiredState, known: Model | None, host: Host, downloaded: int
) -> Refusal | None:
    if known is None or desired.host_path is not None:
        return None
    missing = max(known.weight_bytes - downloaded, 0)
    if missing == 0 or missing + DISK_REST <= host.disk:
        return None
    there = f", {_gb(downloaded)} of which are downloaded" if downloaded else ""
    return Refusal(
        DOES_NOT_FIT,
        f"The weights of {desired.model_id} take {_gb(known.weight_bytes)}{there}, but the disk has only "
        f"{_gb(host.disk)} free, of which {_gb(DISK_REST)} must stay free. Free disk space, or set "
        "HF_HOME to a directory on a larger disk.",
    )


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _instead(alternatives: list[str]) -> str:
    return f"What would fit: {', or '.join(alternatives)}."


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
