"""The launch plan of a resource on this machine, or the reason for rejecting it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.models import Model
from deepseek_operator.local import capacity as room
from deepseek_operator.local.host import Machine
from deepseek_operator.local.local_overrides import Wish, adapt
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT, Target
from deepseek_operator.plan.desired.validation import NEEDED_APIS, check
from deepseek_operator.plan.engines.limits import beyond
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.sizing.model_lookup import Unknown, known_model
from deepseek_operator.plan.sizing.parallelism import GROUPS, possible, split
from deepseek_operator.plan.sizing.pod_resources import Needs, needs
from deepseek_operator.plan.sizing.refusals import DOES_NOT_FIT
from deepseek_operator.plan.state.observed import ConfigFile, Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings

NOT_LOCAL = "NotLocal"
NOTHING_ASKED = "NothingAsked"

# Fields that need an optional API of a cluster are not rejected here but reported as ignored.
EVERY_API = frozenset({kind for kind, _, _ in NEEDED_APIS} | {GROUPS})
# Path of the API key file in a container.
KEYS_MOUNT = "/etc/deepseek/keys.json"
# Variables that refer to volumes of a pod.
OF_PODS = frozenset({"HOME", "HF_HOME", "TRITON_CACHE_DIR"})


class Replica(BaseModel):
    """One server of the launch plan.

    Attributes:
        index: Index of the replica, from 0.
        gpus: UUIDs of its GPUs; empty: it runs on the CPU.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    gpus: tuple[str, ...] = ()


class Arrangement(BaseModel):
    """The launch plan of a resource.

    Attributes:
        name: Name of the resource.
        model_id: ID of the model.
        served_name: Model name that clients send.
        source: Description of the source of the weights.
        runs_on: Description of the device of a replica.
        config: Config of the server without its listen address.
        args: Additional command-line arguments.
        env: Additional environment variables.
        replicas: The servers.
        threads: CPU threads per process; None: not limited.
        weights: Directory of the model; None: the model is downloaded.
        keys: File of API keys; None: clients need no key.
        engine: docker or podman; empty: servers run as plain processes.
        image: Image for containers.
        shm: Bytes of /dev/shm for containers.
        run: Unique ID of this start, which every process and container carries.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    model_id: str
    served_name: str
    source: str
    runs_on: str
    config: dict[str, Any]
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    replicas: tuple[Replica, ...]
    threads: int | None = None
    weights: Path | None = None
    keys: Path | None = None
    engine: str = ""
    image: str = ""
    shm: int = 0
    run: str = ""

    @property
    def drain_seconds(self) -> float:
        """Drain timeout of running requests, in seconds."""
        return float(self.config["drainSeconds"])


class Proposal(BaseModel):
    """A launch plan with messages for the user.

    Attributes:
        arrangement: The launch plan.
        ignored: Ignored fields, and why.
        notes: Other messages.
    """

    arrangement: Arrangement
    ignored: dict[str, str]
    notes: tuple[str, ...]


def arrange(
    body: dict[str, Any],
    settings: Settings,
    machine: Machine,
    wish: Wish,
    config: dict[str, Any] | None = None,
    downloaded: int = 0,
) -> Proposal | Refusal:
    """Return the launch plan of a resource, or a refusal.

    Args:
        body: The resource.
        settings: Settings of the operator's installation.
        machine: Devices, memory and disk of the machine.
        wish: Overrides from the command line.
        config: The model's config.json, if known.
        downloaded: Bytes of the model that are already downloaded.
    """
    if refusal := _refused_anywhere(body, settings, wish):
        return refusal
    adapted = adapt(body, machine, wish)
    spec = Spec.model_validate(adapted.body["spec"])
    file = ConfigFile("", spec.model.id, spec.model.revision, config) if config else None
    observed = Observed(nodes=machine.nodes(), config=file, served=EVERY_API)
    target = decide(adapted.body, settings, observed)
    if isinstance(target, Refusal):
        return _or_on_cpu(target) if spec.accelerator else target
    model = known_model(spec, observed)
    known = None if isinstance(model, Unknown) else model
    asked = _needs(target, spec, known)
    if refusal := room.refused(target, known, asked, machine, downloaded):
        return refusal
    notes = [*adapted.notes, *_unchecked(target, model)]
    found = _arrangement(target, spec, asked, machine, wish)
    return Proposal(arrangement=found, ignored=adapted.ignored, notes=tuple(notes))


def _or_on_cpu(refusal: Refusal) -> Refusal:
    """Return a refusal for lack of GPUs, extended by the option to run on the CPU."""
    if refusal.reason != DOES_NOT_FIT:
        return refusal
    return Refusal(refusal.reason, f"{refusal.message} Or run on the CPU (--device cpu).")


def _refused_anywhere(body: dict[str, Any], settings: Settings, wish: Wish) -> Refusal | None:
    """Return the refusal of a resource that no cluster would accept, or that only a cluster can serve."""
    try:
        spec = Spec.model_validate(body["spec"])
    except ValueError:
        unreadable = decide(body, settings, Observed())
        return unreadable if isinstance(unreadable, Refusal) else None
    if refusal := check(spec, EVERY_API) or possible(spec):
        return refusal
    if spec.engine.type != "transformers":
        return Refusal(
            NOT_LOCAL,
            f"engine.type {spec.engine.type} is only supported in a cluster; on one machine the bundled "
            "model server runs. Remove engine.type, engine.args and engine.image.",
        )
    if said := beyond(spec, split(spec.parallelism, 1)):
        return Refusal(NOT_LOCAL, said)
    source = spec.model.source
    if source and source.pvc and wish.weights is None:
        return Refusal(
            NOT_LOCAL,
            f"model.source.pvc {source.pvc.claim_name} is only available in a cluster. Set the "
            "model's directory on this machine with --weights DIR.",
        )
    if not (spec.replicas if wish.replicas is None else wish.replicas):
        return Refusal(
            NOTHING_ASKED,
            "spec.replicas is 0, so there is nothing to start. Start one replica with --replicas 1.",
        )
    return None


def _needs(target: Target, spec: Spec, known: Model | None) -> Needs:
    """Return the resource needs of one replica, summed over its processes."""
    half = spec.model.dtype in ("bfloat16", "float16")
    gpus = target.gpus.count * target.pods if target.gpus else 0
    return needs(known, gpus, 2 if half else 4, downloads=target.host_path is None)


def _unchecked(target: Target, model: Model | Unknown) -> list[str]:
    if target.sizing.note:
        return [target.sizing.note]
    if isinstance(model, Unknown):
        return [f"Did not check whether the model fits: {model.why}."]
    return []


def _arrangement(
    target: Target, spec: Spec, asked: Needs, machine: Machine, wish: Wish
) -> Arrangement:
    contained = bool(wish.engine)
    weights = Path(target.host_path) if target.host_path else None
    config = {name: part for name, part in target.config.items() if name not in ("gang", "listen")}
    if weights:
        place = MODEL_MOUNT if contained else str(weights)
        config["model"] = {**config["model"], "source": {"path": place}}
    config.pop("apiKeysFile", None)
    if wish.keys:
        config["apiKeysFile"] = KEYS_MOUNT if contained else str(wish.keys.absolute())
    count = target.replicas
    on_cpu = target.gpus is None
    return Arrangement(
        name=target.resource.name,
        model_id=target.model_id,
        served_name=target.served_name,
        source=f"directory {weights}" if weights else target.source,
        runs_on="CPU" if on_cpu else target.accelerator,
        config=config,
        args=_args(target),
        env=_env(target, spec),
        replicas=_replicas(target, machine),
        threads=max(machine.cores // (count * target.sizing.split.gpus), 1) if on_cpu else None,
        weights=weights,
        keys=wish.keys.absolute() if wish.keys else None,
        engine=wish.engine,
        image=(wish.image or target.image) if contained else "",
        shm=asked.shm if contained else 0,
    )


def _args(target: Target) -> tuple[str, ...]:
    """Return the arguments that the resource adds, without the config file option."""
    return target.programs.leader.args[2:]


def _env(target: Target, spec: Spec) -> dict[str, str]:
    """Return the resource's variables and those that GPUs need, without those of pod volumes."""
    own = {variable.name for variable in spec.engine.env}
    given = target.programs.leader.env
    return {name: value for name, value in given.items() if name in own or name not in OF_PODS}


def _replicas(target: Target, machine: Machine) -> tuple[Replica, ...]:
    indices: Sequence[int] = range(target.replicas)
    if target.gpus is None or target.gpus.profile is None:
        return tuple(Replica(index=index) for index in indices)
    each = target.gpus.count
    free = [gpu.uuid for gpu in machine.of_kind(target.gpus.profile)]
    return tuple(
        Replica(index=index, gpus=tuple(free[index * each : (index + 1) * each]))
        for index in indices
    )
