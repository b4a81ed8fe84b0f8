"""Desired pod sets: the stable one and, during a rollout, a candidate."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.progressive.progression import ProgressiveInput, Traffic
from deepseek_operator.plan.progressive.revision import Revision
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.state.labels import BLUE, GREEN, Color, service_name
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.traffic.routing import Backend

NAME_TOO_LONG = "NameTooLong"
# Leaves room in 63 characters for `-green-gang`, the number of the replica and a hash.
NAME_LENGTH = 38
EVERYTHING = Traffic({BLUE: 100, GREEN: 0}, (BLUE, GREEN))


@dataclass(frozen=True)
class PodSets:
    """The desired pod sets of a resource.

    Attributes:
        active: The set that serves the requests, with all objects that a resource has once.
        preview: The second set, None if there is none.
        traffic: Distribution of the requests.
        state: Rollout state between them, None if there is none to store.
        revisions: Revisions to store.
        wanted: Replicas that serve after the rollout; None: as many as `active` has.
    """

    active: DesiredState
    preview: DesiredState | None = None
    traffic: Traffic = EVERYTHING
    state: RolloutState | None = None
    revisions: tuple[Revision, ...] = ()
    wanted: int | None = None

    @property
    def members(self) -> tuple[DesiredState, ...]:
        """All desired sets."""
        return (self.active,) if self.preview is None else (self.active, self.preview)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The Services that share the requests of a route, each with its percentage."""
        name = self.active.resource.name
        if self.preview is None:
            return (Backend(name),)
        return tuple(
            Backend(service_name(name, color), self.traffic.weights[color])
            for color in (BLUE, GREEN)
        )

    def of(self, color: Color) -> DesiredState | None:
        """Return the set of a color, or None."""
        return next((desired for desired in self.members if desired.color == color), None)


class Strategy(Protocol):
    """A rollout strategy."""

    def advance(self, state: RolloutState, inputs: ProgressiveInput) -> RolloutState:
        """Return the next state of the rollout, for a state that is aligned with the newest spec."""

    def sizes(self, state: RolloutState, inputs: ProgressiveInput) -> tuple[int, int]:
        """Return the replicas of the stable set and of the candidate."""

    def traffic(self, state: RolloutState, inputs: ProgressiveInput) -> Traffic:
        """Return the distribution of requests over the sets for the present state."""


def desired_sets(
    strategy: Strategy,
    state: RolloutState,
    inputs: ProgressiveInput,
    desired_states: Mapping[str, DesiredState],
    known: Mapping[str, Revision],
) -> tuple[PodSets, int]:
    """Return the desired sets of a rollout state, and the number of serving replicas of the second set."""
    stable, ours = strategy.sizes(state, inputs)
    traffic = strategy.traffic(state, inputs)
    active = replace(
        pod_set(desired_states[state.revision], state.stable, state.revision), replicas=stable
    )
    second = None
    if state.candidate:
        second = pod_set(desired_states[state.candidate], state.candidate_color, state.candidate)
        second = replace(second, replicas=ours)
        if state.switched:
            active, second = second, active
        # The autoscaler controls only the set that serves the requests.
        second = replace(second, scaling=None)
    names = [name for name in (state.revision, state.candidate) if name]
    revisions = tuple(known[name] for name in names)
    extra_ready = inputs.candidate.ready if second and len(traffic.common) > 1 else 0
    result = PodSets(active, second, traffic, state, revisions, inputs.wanted)
    return replace(result, active=_routed(active, result.backends)), extra_ready


def _routed(active: DesiredState, backends: tuple[Backend, ...]) -> DesiredState:
    """Return the set with the backends of its route, if it has one."""
    if active.routing is None or active.routing.route is None:
        return active
    route = replace(active.routing.route, backends=backends)
    return replace(active, routing=replace(active.routing, route=route))


def pod_set(desired: DesiredState, color: Color, name: str) -> DesiredState:
    """Return a set with its color and revision; start holds of another color don't apply to it."""
    holds = desired.holds if desired.color == color or desired.holds is None else {"groups": {}}
    return replace(desired, color=color, revision=name, holds=holds)


def name_too_long(desired: DesiredState) -> Refusal | None:
    """Refuse a name that is too long for the labels of multi-pod replicas (63 with number and hash)."""
    name = desired.resource.name
    if desired.rollout.strategy == "auto" or desired.pods == 1 or len(name) <= NAME_LENGTH:
        return None
    return Refusal(
        NAME_TOO_LONG,
        f"The name {name} has {len(name)} characters; with multi-pod replicas and rollout.strategy "
        f"{desired.rollout.strategy} at most {NAME_LENGTH} are allowed. Use a shorter name, or set "
        "rollout.strategy to auto.",
    )
