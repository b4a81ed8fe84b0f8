"""Initial desired sets of a resource that was just created, with its first rollout state."""

from collections.abc import Mapping
from datetime import datetime

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.pod_sets import (
    PodSets,
    Strategy,
    desired_sets,
    name_too_long,
)
from deepseek_operator.plan.progressive.progression import ProgressiveInput, SetView
from deepseek_operator.plan.progressive.revision import revision
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.state.labels import BLUE
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings

STRATEGIES: Mapping[str, Strategy] = {"canary": canary, "blueGreen": blue_green}


def fresh(
    body: Mapping[str, object], settings: Settings, observed: Observed, now: datetime
) -> PodSets | Refusal:
    """Return the desired sets of a new resource, or a refusal.

    Args:
        body: The resource.
        settings: Settings of the installation.
        observed: The nodes, the optional kinds, and the model's config.json if it was read.
        now: The time.
    """
    desired = decide(body, settings, observed)
    if isinstance(desired, Refusal):
        return desired
    if refusal := name_too_long(desired):
        return refusal
    name = desired.rollout.strategy
    if name == "auto":
        return PodSets(desired)
    newest = revision(Spec.model_validate(body["spec"]), settings)
    inputs = ProgressiveInput(
        desired.rollout,
        newest.name,
        desired.replicas,
        SetView(),
        SetView(),
        now,
        scaled=desired.scaling is not None,
        routed=desired.routing is not None and desired.routing.route is not None,
    )
    strategy = STRATEGIES[name]
    state = strategy.advance(RolloutState(BLUE, newest.name), inputs)
    known = {newest.name: newest}
    return desired_sets(strategy, state, inputs, {newest.name: desired}, known)[0]
