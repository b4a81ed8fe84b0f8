"""Capacity checks of this machine: GPUs, memory, disk."""

from deepseek_operator.catalog.models import Model
from deepseek_operator.local.host import Machine
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.sizing.pod_resources import GIB, Needs
from deepseek_operator.plan.sizing.refusals import DOES_NOT_FIT
from deepseek_operator.plan.state.refusal import Refusal

# Disk space that is kept free, for compiled kernels and other programs.
DISK_REST = GIB


def refused(
    target: Target, known: Model | None, needs: Needs, machine: Machine, downloaded: int
) -> Refusal | None:
    """Return a refusal with figures and with what would fit; None if the resource fits.

    Args:
        target: The desired state.
        known: The model; None if its size is unknown.
        needs: Resource needs of one replica.
        machine: Resources of the machine.
        downloaded: Bytes of the model that are already downloaded.
    """
    return (
        _gpus(target, machine)
        or _memory(target, known, needs, machine)
        or _disk(target, known, machine, downloaded)
    )


def _gpus(target: Target, machine: Machine) -> Refusal | None:
    if target.gpus is None:
        return None
    kind, each = target.gpus.profile or "GPU", target.gpus.count * target.pods
    free = len(machine.of_kind(kind))
    if each * target.replicas <= free:
        return None
    fitting = free // each
    ways = []
    if fitting:
        ways.append(f"{_replicas(fitting)} (--replicas {fitting})")
    elif free:
        ways.append(
            f"{free} GPUs per replica (accelerator.count {free}), if the model fits on them"
        )
    return Refusal(
        DOES_NOT_FIT,
        f"{_replicas(target.replicas)} of {each} x {kind} need{'s' * (target.replicas == 1)} "
        f"{each * target.replicas} GPUs, but "
        f"this machine has only {free} free. {_instead([*ways, 'the CPU (--device cpu)'])}",
    )


def _memory(target: Target, known: Model | None, needs: Needs, machine: Machine) -> Refusal | None:
    whole = needs.memory * target.replicas
    if whole <= machine.memory:
        return None
    fitting = machine.memory // needs.memory
    ways = [f"{_replicas(fitting)} (--replicas {fitting})"] if fitting else []
    parts = ""
    if known and target.gpus is None:
        width = known.parameters * (2 if target.sizing.dtype in ("bfloat16", "float16") else 4)
        kind = "float32" if target.sizing.dtype == "auto" else target.sizing.dtype
        parts = (
            f" ({_gb(width)} for the weights in {kind}, {_gb(needs.memory - width)} for the server "
            "and the KV cache)"
        )
        if kind == "float32" and needs.memory - width // 2 <= machine.memory:
            ways.append("model.dtype bfloat16")
    each = "" if target.replicas == 1 else f", {_gb(whole)} in total"
    return Refusal(
        DOES_NOT_FIT,
        f"{target.model_id} does not fit into the memory of this machine. "
        f"{'A replica needs' if target.replicas == 1 else f'Each of {target.replicas} replicas needs'} "
        f"{_gb(needs.memory)}{parts}{each}, but only {_gb(machine.memory)} are available. "
        f"{_instead([*ways, 'a smaller model'])}",
    )


def _disk(target: Target, known: Model | None, machine: Machine, downloaded: int) -> Refusal | None:
    if known is None or target.host_path is not None:
        return None
    missing = max(known.weight_bytes - downloaded, 0)
    if missing == 0 or missing + DISK_REST <= machine.disk:
        return None
    there = f", {_gb(downloaded)} of which are downloaded" if downloaded else ""
    return Refusal(
        DOES_NOT_FIT,
        f"The weights of {target.model_id} take {_gb(known.weight_bytes)}{there}, but the disk has only "
        f"{_gb(machine.disk)} free, of which {_gb(DISK_REST)} must stay free. Free disk space, or set "
        "HF_HOME to a directory on a larger disk.",
    )


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _instead(ways: list[str]) -> str:
    return f"What would fit: {', or '.join(ways)}."


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
