"""Adaptation of a resource to one machine: fields that apply, are ignored, or are overridden."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepseek_operator.local.host import Host

Object = dict[str, Any]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Overrides:
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


Applies = Callable[[Overrides], bool]


def _always(_: Overrides) -> bool:
    return True


MESH = "there is no mesh on one machine: every client that reaches the port is served"
# Fields without a meaning on one machine, and why.
MEANINGLESS: tuple[tuple[str, str, Applies], ...] = (
    ("engine.image", "the server runs without a container", lambda overrides: not overrides.engine),
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
        lambda overrides: overrides.keys is None,
    ),
    ("security.allowFrom", MESH, _always),
    ("security.jwt", MESH, _always),
    ("security.mtls", MESH, _always),
)
# The only field of spec.rollout that applies.
KEPT_OF_ROLLOUT = "drainSeconds"
ROLLOUT = "there are no rollouts on one machine: stop the resource and start it again"


@dataclass(frozen=True)
class LocalResource:
    """A resource converted for one machine.

    Attributes:
        body: The resource.
        ignored: Ignored fields, and why.
        notes: Other messages for the user.
    """

    body: Object
    ignored: dict[str, str]
    notes: tuple[str, ...] = ()


def adapt(body: Object, host: Host, overrides: Overrides) -> LocalResource:
    """Adapt a resource, which has passed the operator's checks, to a machine."""
    ignored = dict(_ignored(body["spec"], overrides))
    spec = copy.deepcopy(body["spec"])
    # Only the ignored leaf is removed: model.source must stay, as it says where the model is.
    for path in ignored:
        _remove(spec, path)
    notes: list[str] = []
    requested = body["spec"].get("accelerator")
    spec.pop("accelerator", None)
    if overrides.device != "cpu" and host.kinds():
        spec["accelerator"] = _gpus(requested, spec, host, notes)
    elif requested:
        why = "--device cpu" if overrides.device == "cpu" else _none_free(host)
        notes.append(f"The model runs on the CPU ({why}) although the resource requests GPUs.")
    elif overrides.device == "auto" and host.gpus:
        notes.append(f"The model runs on the CPU ({_none_free(host)}).")
    if overrides.weights is not None:
        spec["model"]["source"] = {"hostPath": {"path": str(overrides.weights.absolute())}}
    if overrides.replicas is not None:
        spec["replicas"] = overrides.replicas
    return LocalResource({**body, "spec": spec}, ignored, tuple(notes))


def _none_free(host: Host) -> str:
    if not host.gpus:
        return "this machine has no NVIDIA GPU"
    return f"other processes use all {len(host.gpus)} GPUs of this machine"


def _gpus(requested: Object | None, spec: Object, host: Host, notes: list[str]) -> Object:
    """Return spec.accelerator for this machine: its GPU types, in the requested order."""
    kinds, requested = host.kinds(), requested or {}
    named = [*filter(None, [requested.get("profile")]), *requested.get("profiles", [])]
    here = [kind for kind in named if kind in kinds]
    if named and not here:
        notes.append(f"The resource requests {' or '.join(named)}; using {kinds[0]} instead.")
    ignored: Object = {"profiles": here or kinds}
    count = requested.get("count")
    if count and (here or not named):
        ignored["count"] = count
    elif count and not spec.get("parallelism"):
        notes.append(
            f"accelerator.count {count} is for another GPU type: using as few GPUs as the model needs."
        )
    busy = len(host.gpus) - len(host.free)
    if busy:
        notes.append(f"Skipping {busy} of {len(host.gpus)} GPUs: other processes use them.")
    return ignored


def _ignored(spec: Mapping[str, Any], overrides: Overrides) -> Iterator[tuple[str, str]]:
    for path, why, applies in MEANINGLESS:
        if _has(spec, path) and applies(overrides):
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
