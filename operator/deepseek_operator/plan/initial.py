"""Initial desired sets of a resource that was just created, with its first rollout state."""

from collections.abc import Mapping
from datetime import datetime

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.pod_sets import Machine, Sets, sets, too_long
from deepseek_operator.plan.progressive.progression import SetView, Situation
from deepseek_operator.plan.progressive.revision import revision
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.state.labels import BLUE
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings

MACHINES: Mapping[str, Machine] = {"canary": canary, "blueGreen": blue_green}


def fresh(
    body: Mapping[str, object], settings: Settings, observed: Observed, now: datetime
) -> Sets | Refusal:
    """Return the desired sets of a new resource, or a refusal.

    Args:
        body: The resource.
        settings: Settings of the installation.
        observed: The nodes, the optional kinds, and the model's config.json if it was read.
        now: The time.
    """
    target = decide(body, settings, observed)
    if isinstance(target, Refusal):
        return target
    if refusal := too_long(target):
        return refusal
    strategy = target.rollout.strategy
    if strategy == "auto":
        return Sets(target)
    made_of = revision(Spec.model_validate(body["spec"]), settings)
    situation = Situation(
        target.rollout,
        made_of.name,
        target.replicas,
        SetView(),
        SetView(),
        now,
        scaled=target.scaling is not None,
        routed=target.ways is not None and target.ways.route is not None,
    )
    machine = MACHINES[strategy]
    record = machine.advance(Record(BLUE, made_of.name), situation)
    known = {made_of.name: made_of}
    return sets(machine, record, situation, {made_of.name: target}, known)[0]
