"""The two decisions: what shall be for a resource, and what to say about it."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.desired.desired_state import Resource, Target, target
from deepseek_operator.plan.desired.validation import check
from deepseek_operator.plan.rolling.group_failures import holds
from deepseek_operator.plan.sizing.model_lookup import unread
from deepseek_operator.plan.sizing.parallelism import groups_are_there, possible
from deepseek_operator.plan.sizing.sizing import size
from deepseek_operator.plan.state.observed import ConfigFile, Object, Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status import conditions as status
from deepseek_operator.plan.status.events import News, news

SPEC_UNREADABLE = "SpecUnreadable"


@dataclass(frozen=True)
class Report:
    """What to say about a resource: its whole status, and Events for what happened."""

    status: dict[str, Any]
    news: list[News]


def unread_file(body: Object, settings: Settings) -> ConfigFile | None:
    """What has to be read before it can be decided, None where that is nothing.

    Args:
        body: The resource as the API server has it.
        settings: What the installation decides for all resources.
    """
    if "accelerator" not in body["spec"]:
        return None
    try:
        return unread(Spec.model_validate(body["spec"]), settings)
    except ValidationError:
        return None  # `decide` says so


def decide(body: Object, settings: Settings, observed: Observed) -> Target | Refusal:
    """What shall be for a resource, or why nothing is made or changed.

    Args:
        body: The resource as the API server has it.
        settings: What the installation decides for all resources.
        observed: What there is of it by now, the nodes, and what `unread_file` asked for.
    """
    metadata = body["metadata"]
    try:
        spec = Spec.model_validate(body["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("spec", *first["loc"]))
        return Refusal(SPEC_UNREADABLE, f"{where}: {first['msg']}. Is the CRD of another version?")
    if refusal := check(spec, observed.served) or possible(spec):
        return refusal
    sizing = size(spec, observed, status.resolved_before(body))
    if isinstance(sizing, Refusal):
        return sizing
    if refusal := groups_are_there(sizing.split.pods, observed.served):
        return refusal
    resource = Resource(metadata["namespace"], metadata["name"], metadata["uid"])
    held = holds(status.groups_before(body), metadata.get("generation", 1))
    return target(resource, spec, settings, sizing, observed, held)


def report(body: Object, decision: Target | Refusal, observed: Observed, now: str) -> Report:
    """What to say about a resource.

    Args:
        body: The resource as the API server has it, with its present status.
        decision: What was decided for it.
        observed: Its Deployment and pods after the decision was carried out, and the nodes.
        now: The time as RFC 3339, for conditions that change.
    """
    before = dict(body.get("status") or {})
    generation = int(body["metadata"].get("generation", 1))
    if isinstance(decision, Refusal):
        after = status.refused(decision, before, generation, now)
    else:
        after = status.reported(decision, observed, before, generation, now)
    return Report(after, news(before, after))
