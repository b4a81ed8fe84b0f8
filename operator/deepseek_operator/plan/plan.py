"""The two decisions about a resource: its desired state, and its status with Events."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.desired.desired_state import DesiredState, Resource, desired_state
from deepseek_operator.plan.desired.validation import check
from deepseek_operator.plan.rolling.group_failures import holds
from deepseek_operator.plan.sizing.model_lookup import unread
from deepseek_operator.plan.sizing.parallelism import groups_are_there, possible
from deepseek_operator.plan.sizing.sizing import size
from deepseek_operator.plan.state.observed import ConfigFile, Object, Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status import conditions as status
from deepseek_operator.plan.status.events import Event, events

SPEC_UNREADABLE = "SpecUnreadable"


@dataclass(frozen=True)
class Report:
    """The complete status of a resource, and its new Events."""

    status: dict[str, Any]
    events: list[Event]


def unread_file(body: Object, settings: Settings) -> ConfigFile | None:
    """Return the config.json that has to be read before `decide`, None if none has to.

    Args:
        body: The resource as the API server has it.
        settings: Settings of the installation.
    """
    if "accelerator" not in body["spec"]:
        return None
    try:
        return unread(Spec.model_validate(body["spec"]), settings)
    except ValidationError:
        return None  # `decide` reports it


def decide(body: Object, settings: Settings, observed: Observed) -> DesiredState | Refusal:
    """Return the desired state of a resource, or a refusal that leaves its objects unchanged.

    Args:
        body: The resource as the API server has it.
        settings: Settings of the installation.
        observed: Its observed state, the nodes, and the file that `unread_file` requested.
    """
    metadata = body["metadata"]
    try:
        spec = Spec.model_validate(body["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("spec", *first["loc"]))
        return Refusal(
            SPEC_UNREADABLE,
            f"{where}: {first['msg']}. Check that CRD and operator have the same version.",
        )
    if refusal := check(spec, observed.served) or possible(spec):
        return refusal
    sizing = size(spec, observed, status.resolved_before(body))
    if isinstance(sizing, Refusal):
        return sizing
    if refusal := groups_are_there(sizing.split.pods, observed.served):
        return refusal
    resource = Resource(metadata["namespace"], metadata["name"], metadata["uid"])
    held = holds(status.groups_before(body), metadata.get("generation", 1))
    return desired_state(resource, spec, settings, sizing, observed, held)


def report(body: Object, decision: DesiredState | Refusal, observed: Observed, now: str) -> Report:
    """Return the status of a resource, and its new Events.

    Args:
        body: The resource as the API server has it, with its present status.
        decision: The desired state or the refusal.
        observed: Its Deployment and pods after the desired state was applied, and the nodes.
        now: The time as RFC 3339, for conditions that change.
    """
    before = dict(body.get("status") or {})
    generation = int(body["metadata"].get("generation", 1))
    if isinstance(decision, Refusal):
        after = status.refused(decision, before, generation, now)
    else:
        after = status.reported(decision, observed, before, generation, now)
    return Report(after, events(before, after))
