"""Rollout from one revision to another: the part that canary and blue-green share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.progressive.samples import Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN, Color
from deepseek_operator.plan.state.observed import Observed

ABORTED = "Aborted"


@dataclass(frozen=True)
class SetView:
    """The observed state of a set of pods.

    Attributes:
        revision: Its revision, empty if unknown or if there is no set.
        exists: Whether the set, or pods of it, exist.
        wanted: Replicas requested last.
        replicas: Replicas that exist.
        scheduled: Replicas that are scheduled.
        ready: Replicas that are ready.
        rolling: Whether some pods may have an older pod template.
    """

    revision: str = ""
    exists: bool = False
    wanted: int = 0
    replicas: int = 0
    scheduled: int = 0
    ready: int = 0
    rolling: bool = False

    def serves(self, replicas: int) -> bool:
        """Tell whether exactly so many replicas exist, and all are ready and up to date."""
        return not self.rolling and self.wanted == self.replicas == replicas <= self.ready

    @classmethod
    def of(cls, observed: Observed) -> "SetView":
        """Return the view of the observed state of a set."""
        deployment, replicas = observed.deployment, observed.replicas
        exists = deployment.wanted is not None
        return cls(
            revision=deployment.revision,
            exists=exists or bool(replicas),
            wanted=deployment.wanted or 0,
            replicas=len(replicas),
            scheduled=sum(replica.scheduled for replica in replicas),
            ready=observed.ready,
            rolling=exists and (not deployment.settled or deployment.rolling),
        )


@dataclass(frozen=True)
class ProgressiveInput:
    """The input of a canary or blue-green decision.

    Attributes:
        rules: `spec.rollout`.
        newest: The revision of the spec.
        wanted: Replicas that serve after the rollout.
        stable: The stable set.
        candidate: The set of the other color, of any revision.
        scaled: Whether an autoscaler sets the stable set's replicas.
        routed: Whether a route splits the requests by weight; otherwise the pod counts decide.
        capacity: Slots for replicas, occupied ones included; None if not determined.
        failure: Why the candidate has failed, empty if it has not.
        samples: Metrics of servers past their warm-up, by color and pod.
        scrape_error: Why a server of the candidate could not be scraped, empty if all were.
        smoke_passed: Whether the candidate passed the smoke requests, None if not known yet.
        smoke_problem: Why the smoke requests failed.
    """

    rules: Rollout
    newest: str
    wanted: int
    stable: SetView
    candidate: SetView
    now: datetime
    scaled: bool = False
    routed: bool = False
    capacity: int | None = None
    failure: str = ""
    samples: Mapping[Color, Mapping[str, Sample]] = field(default_factory=dict)
    scrape_error: str = ""
    smoke_passed: bool | None = None
    smoke_problem: str = ""

    @property
    def min_serving(self) -> int:
        """Minimum of serving replicas: one fewer than desired, at least one."""
        return max(1, self.wanted - 1)

    @property
    def swapped(self) -> "ProgressiveInput":
        """The inputs with candidate and stable set swapped, and the candidate's checks reset."""
        return replace(
            self,
            stable=self.candidate,
            candidate=self.stable,
            failure="",
            smoke_passed=None,
        )


@dataclass(frozen=True)
class Traffic:
    """The distribution of requests over the sets.

    Attributes:
        weights: Percentage by color, for routes.
        common: Colors whose pods the client Service selects.
    """

    weights: Mapping[Color, int]
    common: tuple[Color, ...]


def _follow_spec(state: RolloutState, inputs: ProgressiveInput) -> RolloutState:
    """Return the state with the candidate that the newest spec requests."""
    newest, rules = inputs.newest, inputs.rules
    if state.switched and newest not in (state.revision, state.candidate):
        # The set that receives the requests becomes the stable one.
        state = state.promoted()
    if is_obsolete(state, inputs) and _serves(state, inputs):
        if not inputs.stable.ready and state.step >= len(rules.canary.steps):
            # Only the candidate serves, so it counts as promoted; going back is another rollout.
            state = state.promoted()
        elif inputs.stable.ready < inputs.min_serving:
            return state
    if state.failed and state.failed.revision != newest:
        state = replace(state, failed=None)
    if newest == state.revision:
        return state.withdrawn() if state.candidate else state
    if state.failed and newest != rules.promote:
        return state
    if not inputs.wanted or not (state.candidate or inputs.stable.ready):
        # No replica serves, so there is no availability to protect and no baseline to compare with.
        return RolloutState(state.stable, newest)
    if rules.abort == newest:
        message = "spec.rollout.abort names this revision."
        return replace(state, candidate=newest).rolled_back(ABORTED, message, inputs.now)
    return state if newest == state.candidate else state.with_candidate(newest)


def align_with_spec(
    state: RolloutState, inputs: ProgressiveInput
) -> tuple[RolloutState, ProgressiveInput]:
    """Return the record that the newest spec requests, and the input that belongs to it."""
    current = _follow_spec(state, inputs)
    return current, inputs if current.stable == state.stable else inputs.swapped


def is_obsolete(state: RolloutState, inputs: ProgressiveInput) -> bool:
    """Tell whether the candidate is no longer requested by the newest spec.

    A canary may have replaced stable replicas: it keeps serving until those are back.
    """
    return state.candidate not in ("", inputs.newest)


def _serves(state: RolloutState, inputs: ProgressiveInput) -> bool:
    """Tell whether the candidate of a canary is serving requests."""
    candidate = inputs.candidate
    takes = inputs.rules.strategy == "canary" and not candidate.rolling
    return takes and candidate.revision == state.candidate and candidate.ready > 0


def collapsed(
    state: RolloutState, candidate: SetView, stable: SetView, newest: str
) -> RolloutState:
    """Return the state for strategy auto: a single set, the one that serves."""
    ahead = state.candidate == newest and candidate.ready > stable.ready
    merged = state.promoted() if state.switched or (state.candidate and ahead) else state
    return RolloutState(merged.stable)


def recovered(
    views: Mapping[Color, SetView], numbers: Mapping[str, int], newest: str
) -> RolloutState:
    """Reconstruct a deleted rollout state from the sets in the cluster.

    Args:
        views: The sets.
        numbers: Ordinals of the stored revisions, by name.
        newest: The revision of the spec.
    """
    present = [color for color in (BLUE, GREEN) if views[color].exists]
    present.sort(key=lambda color: numbers.get(views[color].revision, 0))
    if not present:
        return RolloutState(BLUE, newest)
    stable = present[0]
    known = [views[color].revision if views[color].revision in numbers else "" for color in present]
    state = RolloutState(stable, known[0] or newest)
    return state.with_candidate(known[1]) if len(present) > 1 and known[0] and known[1] else state


def stable_only(state: RolloutState, inputs: ProgressiveInput) -> Traffic:
    """Return the distribution that sends all requests to the stable set."""
    common = (state.stable,) if inputs.candidate.exists or state.candidate else (BLUE, GREEN)
    return Traffic({state.stable: 100, state.candidate_color: 0}, common)
