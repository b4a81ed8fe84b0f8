"""Desired pod sets: the stable one and, during a rollout, a candidate."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.progressive.progression import Situation, Traffic
from deepseek_operator.plan.progressive.revision import Revision
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.state.labels import BLUE, GREEN, Slot, service_name
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.traffic.routing import Backend

NAME_TOO_LONG = "NameTooLong"
# Leaves room in 63 characters for `-green-gang`, the number of the replica and a hash.
NAME_LENGTH = 38
EVERYTHING = Traffic({BLUE: 100, GREEN: 0}, (BLUE, GREEN))


@dataclass(frozen=True)
class Sets:
    """The desired pod sets of a resource.

    Attributes:
        lead: The set that serves the requests, with all objects that a resource has once.
        other: The second set, None if there is none.
        traffic: Distribution of the requests.
        record: State of the rollout between them, None if there is none to store.
        revisions: Revisions to store.
        wanted: Replicas that serve after the rollout; None: as many as `lead` has.
    """

    lead: Target
    other: Target | None = None
    traffic: Traffic = EVERYTHING
    record: Record | None = None
    revisions: tuple[Revision, ...] = ()
    wanted: int | None = None

    @property
    def both(self) -> tuple[Target, ...]:
        """All desired sets."""
        return (self.lead,) if self.other is None else (self.lead, self.other)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The Services that share the requests of a route, each with its percentage."""
        name = self.lead.resource.name
        if self.other is None:
            return (Backend(name),)
        return tuple(
            Backend(service_name(name, slot), self.traffic.weights[slot]) for slot in (BLUE, GREEN)
        )

    def of(self, slot: Slot) -> Target | None:
        """Return the set of a color, or None."""
        return next((target for target in self.both if target.slot == slot), None)


class Machine(Protocol):
    """A rollout strategy."""

    def advance(self, record: Record, situation: Situation) -> Record:
        """Return the next state of the rollout, for a record that matches the newest spec (`faced`)."""

    def sizes(self, record: Record, situation: Situation) -> tuple[int, int]:
        """Return the replicas of the stable set and of the candidate."""

    def traffic(self, record: Record, situation: Situation) -> Traffic:
        """Return the distribution of requests over the sets for the present state."""


def sets(
    machine: Machine,
    record: Record,
    situation: Situation,
    targets: Mapping[str, Target],
    known: Mapping[str, Revision],
) -> tuple[Sets, int]:
    """Return the desired sets of a record, and the number of serving replicas of the second set."""
    stable, ours = machine.sizes(record, situation)
    traffic = machine.traffic(record, situation)
    lead = replace(
        placed(targets[record.revision], record.stable, record.revision), replicas=stable
    )
    second = None
    if record.candidate:
        second = placed(targets[record.candidate], record.place, record.candidate)
        second = replace(second, replicas=ours)
        if record.switched:
            lead, second = second, lead
        # The autoscaler controls only the set that serves the requests.
        second = replace(second, scaling=None)
    names = [name for name in (record.revision, record.candidate) if name]
    revisions = tuple(known[name] for name in names)
    beside = situation.candidate.ready if second and len(traffic.common) > 1 else 0
    both = Sets(lead, second, traffic, record, revisions, situation.wanted)
    return replace(both, lead=_routed(lead, both.backends)), beside


def _routed(lead: Target, backends: tuple[Backend, ...]) -> Target:
    """Return the set with the backends of its route, if it has one."""
    if lead.ways is None or lead.ways.route is None:
        return lead
    route = replace(lead.ways.route, backends=backends)
    return replace(lead, ways=replace(lead.ways, route=route))


def placed(target: Target, slot: Slot, name: str) -> Target:
    """Return a set with its color and revision; start holds of another color don't apply to it."""
    holds = target.holds if target.slot == slot or target.holds is None else {"groups": {}}
    return replace(target, slot=slot, revision=name, holds=holds)


def too_long(target: Target) -> Refusal | None:
    """Refuse a name that is too long for the labels of multi-pod replicas (63 with number and hash)."""
    name = target.resource.name
    if target.rollout.strategy == "auto" or target.pods == 1 or len(name) <= NAME_LENGTH:
        return None
    return Refusal(
        NAME_TOO_LONG,
        f"The name {name} has {len(name)} characters; with multi-pod replicas and rollout.strategy "
        f"{target.rollout.strategy} at most {NAME_LENGTH} are allowed. Use a shorter name, or set "
        "rollout.strategy to auto.",
    )
