"""A resource as it is meant on one machine: what holds, what has no meaning here, what takes its place."""

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
    """What the command line says beside the resource.

    Attributes:
        device: What computes; auto: free GPUs where there are some, else the CPU.
        replicas: In place of the resource's.
        weights: A directory with the model, in place of its source.
        keys: A file of hashed API keys, which are asked for then.
        engine: docker or podman, in which servers run; empty: in none.
        image: The server's, for that; empty: the resource's or the installation's.
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


MESH = "there is no mesh here: whoever reaches the port is answered"
# Fields without a meaning on one machine, and why.
MEANINGLESS: tuple[tuple[str, str, Applies], ...] = (
    ("engine.image", "the server runs without a container", lambda wish: not wish.engine),
    (
        "model.source.huggingFace.tokenSecret",
        "the token is the variable HF_TOKEN of your shell",
        _always,
    ),
    ("observability", "each replica has /metrics on its own port", _always),
    ("parallelism.exclusiveTopology", "there is one machine", _always),
    ("parallelism.maxRestarts", "restarts have a budget of their own here", _always),
    ("parallelism.preflight", "there is no network between GPUs of one machine", _always),
    ("podTemplate", "there are no pods", _always),
    ("routing", "the endpoint is --host and --port", _always),
    ("scaling", "there are as many replicas as --replicas says, else 1", _always),
    ("scheduling", "nobody else decides about this machine", _always),
    (
        "security.apiKeys",
        "nobody is asked for a key; --api-keys FILE has the server ask",
        lambda wish: wish.keys is None,
    ),
    ("security.allowFrom", MESH, _always),
    ("security.jwt", MESH, _always),
    ("security.mtls", MESH, _always),
)
# All of spec.rollout but what a replica that is stopped does.
KEPT_OF_ROLLOUT = "drainSeconds"
ROLLOUT = "nothing is replaced here: bring it down, and up again"


@dataclass(frozen=True)
class Adapted:
    """A resource as it is meant here.

    Attributes:
        body: The resource.
        ignored: Fields without a meaning here, and why.
        notes: What else a person should know, as sentences.
    """

    body: Object
    ignored: dict[str, str]
    notes: tuple[str, ...] = ()


def adapt(body: Object, machine: Machine, wish: Wish) -> Adapted:
    """What a resource means on a machine. It has passed the checks that a cluster's has to."""
    found = dict(_ignored(body["spec"], wish))
    spec = copy.deepcopy(body["spec"])
    # Where the weights are is kept, with or without a token: it says that the model is somewhere.
    for path in found:
        _remove(spec, path)
    notes: list[str] = []
    asked = body["spec"].get("accelerator")
    spec.pop("accelerator", None)
    if wish.device != "cpu" and machine.kinds():
        spec["accelerator"] = _gpus(asked, spec, machine, notes)
    elif asked:
        why = "--device cpu" if wish.device == "cpu" else _none_free(machine)
        notes.append(
            f"The model is computed on the CPU ({why}), though the resource asks for GPUs."
        )
    elif wish.device == "auto" and machine.gpus:
        notes.append(f"The model is computed on the CPU ({_none_free(machine)}).")
    if wish.weights is not None:
        spec["model"]["source"] = {"hostPath": {"path": str(wish.weights.absolute())}}
    if wish.replicas is not None:
        spec["replicas"] = wish.replicas
    return Adapted({**body, "spec": spec}, found, tuple(notes))


def _none_free(machine: Machine) -> str:
    if not machine.gpus:
        return "this machine has no GPU of NVIDIA"
    return f"others compute on each of the {len(machine.gpus)} GPUs of this machine"


def _gpus(asked: Object | None, spec: Object, machine: Machine, notes: list[str]) -> Object:
    """spec.accelerator on this machine: kinds that it has, in the order in which they were asked for."""
    kinds, asked = machine.kinds(), asked or {}
    named = [*filter(None, [asked.get("profile")]), *asked.get("profiles", [])]
    here = [kind for kind in named if kind in kinds]
    if named and not here:
        notes.append(f"The resource asks for {' or '.join(named)}; this machine has {kinds[0]}.")
    found: Object = {"profiles": here or kinds}
    count = asked.get("count")
    if count and (here or not named):
        found["count"] = count
    elif count and not spec.get("parallelism"):
        notes.append(
            f"accelerator.count {count} is for another kind of GPU: as few as fit are taken."
        )
    busy = len(machine.gpus) - len(machine.free)
    if busy:
        notes.append(f"{busy} of {len(machine.gpus)} GPUs are left alone: others compute on them.")
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
