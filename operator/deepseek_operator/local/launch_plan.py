"""The launch plan of a resource on this machine, or the reason for rejecting it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.models import Model
from deepseek_operator.local import capacity
from deepseek_operator.local.host import Host
from deepseek_operator.local.local_overrides import Overrides, adapt
from deepseek_operator.plan.desired.desired_state import MODEL_MOUNT, DesiredState
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


class LaunchPlan(BaseModel):
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
        launch_plan: The launch plan.
        ignored: Ignored fields, and why.
        notes: Other messages.
    """

    launch_plan: LaunchPlan
    ignored: dict[str, str]
    notes: tuple[str, ...]


def arrange(
    body: dict[str, Any],
    settings: Settings,
    host: Host,
    overrides: Overrides,
    config: dict[str, Any] | None = None,
    downloaded: int = 0,
) -> Proposal | Refusal:
    """Return the launch plan of a resource, or a refusal.

    Args:
        body: The resource.
        settings: Settings of the operator's installation.
        host: Devices, memory and disk of the machine.
        overrides: Overrides from the command line.
        config: The model's config.json, if known.
        downloaded: Bytes of the model that are already downloaded.
    """
    if refusal := _refused_anywhere(body, settings, overrides):
        return refusal
    local_resource = adapt(body, host, overrides)
    spec = Spec.model_validate(local_resource.body["spec"])
    file = ConfigFile("", spec.model.id, spec.model.revision, config) if config else None
    observed = Observed(nodes=host.nodes(), config=file, served=EVERY_API)
    desired = decide(local_resource.body, settings, observed)
    if isinstance(desired, Refusal):
        return _or_on_cpu(desired) if spec.accelerator else desired
    model = known_model(spec, observed)
    known = None if isinstance(model, Unknown) else model
    resource_needs = _needs(desired, spec, known)
    if refusal := capacity.refused(desired, known, resource_needs, host, downloaded):
        return refusal
    notes = [*local_resource.notes, *_unchecked(desired, model)]
    found = _launch_plan(desired, spec, resource_needs, host, overrides)
    return Proposal(launch_plan=found, ignored=local_resource.ignored, notes=tuple(notes))


def _or_on_cpu(refusal: Refusal) -> Refusal:
    """Return a refusal for lack of GPUs, extended by the option to run on the CPU."""
    if refusal.reason != DOES_NOT_FIT:
        return refusal
    return Refusal(refusal.reason, f"{refusal.message} Or run on the CPU (--device cpu).")


def _refused_anywhere(
    body: dict[str, Any], settings: Settings, overrides: Overrides
) -> Refusal | None:
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
    if problem := beyond(spec, split(spec.parallelism, 1)):
        return Refusal(NOT_LOCAL, problem)
    source = spec.model.source
    if source and source.pvc and overrides.weights is None:
        return Refusal(
            NOT_LOCAL,
            f"model.source.pvc {source.pvc.claim_name} is only available in a cluster. Set the "
            "model's directory on this machine with --weights DIR.",
        )
    if not (spec.replicas if overrides.replicas is None else overrides.replicas):
        return Refusal(
            NOTHING_ASKED,
            "spec.replicas is 0, so there is nothing to start. Start one replica with --replicas 1.",
        )
    return None


def _needs(desired: DesiredState, spec: Spec, known: Model | None) -> Needs:
    """Return the resource needs of one replica, summed over its processes."""
    half = spec.model.dtype in ("bfloat16", "float16")
    gpus = desired.gpus.count * desired.pods if desired.gpus else 0
    return needs(known, gpus, 2 if half else 4, downloads=desired.host_path is None)


def _unchecked(desired: DesiredState, model: Model | Unknown) -> list[str]:
    if desired.sizing.note:
        return [desired.sizing.note]
    if isinstance(model, Unknown):
        return [f"Did not check whether the model fits: {model.why}."]
    return []


def _launch_plan(
    desired: DesiredState, spec: Spec, resource_needs: Needs, host: Host, overrides: Overrides
) -> LaunchPlan:
    contained = bool(overrides.engine)
    weights = Path(desired.host_path) if desired.host_path else None
    config = {name: part for name, part in desired.config.items() if name not in ("gang", "listen")}
    if weights:
        path = MODEL_MOUNT if contained else str(weights)
        config["model"] = {**config["model"], "source": {"path": path}}
    config.pop("apiKeysFile", None)
    if overrides.keys:
        config["apiKeysFile"] = KEYS_MOUNT if contained else str(overrides.keys.absolute())
    count = desired.replicas
    on_cpu = desired.gpus is None
    return LaunchPlan(
        name=desired.resource.name,
        model_id=desired.model_id,
        served_name=desired.served_name,
        source=f"directory {weights}" if weights else desired.source,
        runs_on="CPU" if on_cpu else desired.accelerator,
        config=config,
        args=_args(desired),
        env=_env(desired, spec),
        replicas=_replicas(desired, host),
        threads=max(host.cores // (count * desired.sizing.split.gpus), 1) if on_cpu else None,
        weights=weights,
        keys=overrides.keys.absolute() if overrides.keys else None,
        engine=overrides.engine,
        image=(overrides.image or desired.image) if contained else "",
        shm=resource_needs.shm if contained else 0,
    )


def _args(desired: DesiredState) -> tuple[str, ...]:
    """Return the arguments that the resource adds, without the config file option."""
    return desired.programs.leader.args[2:]


def _env(desired: DesiredState, spec: Spec) -> dict[str, str]:
    """Return the resource's variables and those that GPUs need, without those of pod volumes."""
    own = {variable.name for variable in spec.engine.env}
    given = desired.programs.leader.env
    return {name: value for name, value in given.items() if name in own or name not in OF_PODS}


def _replicas(desired: DesiredState, host: Host) -> tuple[Replica, ...]:
    indices: Sequence[int] = range(desired.replicas)
    if desired.gpus is None or desired.gpus.profile is None:
        return tuple(Replica(index=index) for index in indices)
    each = desired.gpus.count
    free = [gpu.uuid for gpu in host.of_kind(desired.gpus.profile)]
    return tuple(
        Replica(index=index, gpus=tuple(free[index * each : (index + 1) * each]))
        for index in indices
    )
