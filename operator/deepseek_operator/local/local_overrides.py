"""Adaptation of a resource to one machine: fields that apply, are ignored, or are overridden."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepseek_operator.local.host import Machine

Object = dict[str, Any]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Wish:
    """Command-line options that override the resource.

    Attributes:
        device: Compute device; auto: free GPUs if there are any, else the CPU.
        replicas: Number of replicas.
        weights: Directory with the model, instead of its source.
        keys: File of hashed API keys; clients then need a key.
        engine: docker or podman; empty: servers run without containers.
        image: Image for containers; empty: that of the resource or the installation.
    """

    device: Device = "auto"
    replicas: int | None = None
    weights: Path | None = None
    keys: Path | None = None
    engine: str = ""
    image: str = ""


Applies = Callable[[Wish], bool]


def _always(_: Wish) -> bool:
    return True


MESH = "there is no mesh on one machine: every client that reaches the port is served"
# Fields without a meaning on one machine, and why.
MEANINGLESS: tuple[tuple[str, str, Applies], ...] = (
    ("engine.image", "the server runs without a container", lambda wish: not wish.engine),
    (
        "model.source.huggingFace.tokenSecret",
        "set the variable HF_TOKEN in your shell instead",
        _always,
    ),
    ("observability", "each replica serves /metrics on its own port", _always),
    ("parallelism.exclusiveTopology", "there is only one machine", _always),
    ("parallelism.maxRestarts", "restarts have a fixed budget on one machine", _always),
    ("parallelism.preflight", "there is no network between the GPUs of one machine", _always),
    ("podTemplate", "there are no pods", _always),
    ("routing", "set the endpoint with --host and --port", _always),
    ("scaling", "set the number of replicas with --replicas (default 1)", _always),
    ("scheduling", "there is no scheduler on one machine", _always),
    (
        "security.apiKeys",
        "clients need no key; require one with --api-keys FILE",
        lambda wish: wish.keys is None,
    ),
    ("security.allowFrom", MESH, _always),
    ("security.jwt", MESH, _always),
    ("security.mtls", MESH, _always),
)
# The only field of spec.rollout that applies.
KEPT_OF_ROLLOUT = "drainSeconds"
ROLLOUT = "there are no rollouts on one machine: stop the resource and start it again"


@dataclass(frozen=True)
class Adapted:
    """A resource adapted to one machine.

    Attributes:
        body: The resource.
        ignored: Ignored fields, and why.
        notes: Other messages for the user.
    """

    body: Object
    ignored: dict[str, str]
    notes: tuple[str, ...] = ()


def adapt(body: Object, machine: Machine, wish: Wish) -> Adapted:
    """Adapt a resource, which has passed the operator's checks, to a machine."""
    found = dict(_ignored(body["spec"], wish))
    spec = copy.deepcopy(body["spec"])
    # Only the ignored leaf is removed: model.source must stay, as it says where the model is.
    for path in found:
        _remove(spec, path)
    notes: list[str] = []
    asked = body["spec"].get("accelerator")
    spec.pop("accelerator", None)
    if wish.device != "cpu" and machine.kinds():
        spec["accelerator"] = _gpus(asked, spec, machine, notes)
    elif asked:
        why = "--device cpu" if wish.device == "cpu" else _none_free(machine)
        notes.append(f"The model runs on the CPU ({why}) although the resource requests GPUs.")
    elif wish.device == "auto" and machine.gpus:
        notes.append(f"The model runs on the CPU ({_none_free(machine)}).")
    if wish.weights is not None:
        spec["model"]["source"] = {"hostPath": {"path": str(wish.weights.absolute())}}
    if wish.replicas is not None:
        spec["replicas"] = wish.replicas
    return Adapted({**body, "spec": spec}, found, tuple(notes))


def _none_free(machine: Machine) -> str:
    if not machine.gpus:
        return "this machine has no NVIDIA GPU"
    return f"other processes use all {len(machine.gpus)} GPUs of this machine"


def _gpus(asked: Object | None, spec: Object, machine: Machine, notes: list[str]) -> Object:
    """Return spec.accelerator for this machine: its GPU types, in the requested order."""
    kinds, asked = machine.kinds(), asked or {}
    named = [*filter(None, [asked.get("profile")]), *asked.get("profiles", [])]
    here = [kind for kind in named if kind in kinds]
    if named and not here:
        notes.append(f"The resource requests {' or '.join(named)}; using {kinds[0]} instead.")
    found: Object = {"profiles": here or kinds}
    count = asked.get("count")
    if count and (here or not named):
        found["count"] = count
    elif count and not spec.get("parallelism"):
        notes.append(
            f"accelerator.count {count} is for another GPU type: using as few GPUs as the model needs."
        )
    busy = len(machine.gpus) - len(machine.free)
    if busy:
        notes.append(f"Skipping {busy} of {len(machine.gpus)} GPUs: other processes use them.")
    return found


def _ignored(spec: Mapping[str, Any], wish: Wish) -> Iterator[tuple[str, str]]:
    for path, why, applies in MEANINGLESS:
        if _has(spec, path) and applies(wish):
            yield path, why
    for name in sorted(set(spec.get("rollout") or {}) - {KEPT_OF_ROLLOUT}):
        yield f"rollout.{name}", ROLLOUT


def _has(spec: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    if not isinstance(spec, Mapping) or name not in spec:
        return False
    return _has(spec[name], rest) if rest else True


def _remove(spec: Object, path: str) -> None:
    name, _, rest = path.partition(".")
    if rest:
        _remove(spec[name], rest)
    else:
        del spec[name]
