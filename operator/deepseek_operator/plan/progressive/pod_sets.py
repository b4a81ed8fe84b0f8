"""What shall be for a resource: one set of pods, or a second one beside it."""

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
# With `-green-gang`, the number of the replica and a hash.
NAME_LENGTH = 38
EVERYTHING = Traffic({BLUE: 100, GREEN: 0}, (BLUE, GREEN))


@dataclass(frozen=True)
class Sets:
    """The sets of pods of a resource.

    Attributes:
        lead: The set that has the requests, with all that there is once for a resource.
        other: The second one, None where there is none.
        traffic: Who gets the requests.
        record: How far the change between them is, None where there is nothing to be remembered.
        revisions: What is to be kept of what they were made of.
        wanted: Replicas that take requests in the end; None: as many as `lead` has.
    """

    lead: Target
    other: Target | None = None
    traffic: Traffic = EVERYTHING
    record: Record | None = None
    revisions: tuple[Revision, ...] = ()
    wanted: int | None = None

    @property
    def both(self) -> tuple[Target, ...]:
        """The sets that there shall be."""
        return (self.lead,) if self.other is None else (self.lead, self.other)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The Services that share the requests of a route, each with its percent."""
        name = self.lead.resource.name
        if self.other is None:
            return (Backend(name),)
        return tuple(
            Backend(service_name(name, slot), self.traffic.weights[slot]) for slot in (BLUE, GREEN)
        )

    def of(self, slot: Slot) -> Target | None:
        """The set in a place."""
        return next((target for target in self.both if target.slot == slot), None)


class Machine(Protocol):
    """The steps of a strategy."""

    def advance(self, record: Record, situation: Situation) -> Record:
        """The record after one more look, at what the newest spec asks for (`faced`)."""

    def sizes(self, record: Record, situation: Situation) -> tuple[int, int]:
        """Replicas of the stable set, and of the candidate."""

    def traffic(self, record: Record, situation: Situation) -> Traffic:
        """Who gets the requests while the record says this."""


def sets(
    machine: Machine,
    record: Record,
    situation: Situation,
    targets: Mapping[str, Target],
    known: Mapping[str, Revision],
) -> tuple[Sets, int]:
    """What a record means, and how many replicas of the second set take requests."""
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
        # Load decides about the one that has the requests.
        second = replace(second, scaling=None)
    names = [name for name in (record.revision, record.candidate) if name]
    revisions = tuple(known[name] for name in names)
    beside = situation.candidate.ready if second and len(traffic.common) > 1 else 0
    both = Sets(lead, second, traffic, record, revisions, situation.wanted)
    return replace(both, lead=_routed(lead, both.backends)), beside


def _routed(lead: Target, backends: tuple[Backend, ...]) -> Target:
    """With the Services among which its route, if it has one, divides the requests."""
    if lead.ways is None or lead.ways.route is None:
        return lead
    route = replace(lead.ways.route, backends=backends)
    return replace(lead, ways=replace(lead.ways, route=route))


def placed(target: Target, slot: Slot, name: str) -> Target:
    """A set in its place; replicas that paused in another place do not in this one."""
    holds = target.holds if target.slot == slot or target.holds is None else {"groups": {}}
    return replace(target, slot=slot, revision=name, holds=holds)


def too_long(target: Target) -> Refusal | None:
    """Kubernetes labels the pods of a group with its name and a hash, in 63 characters."""
    name = target.resource.name
    if target.rollout.strategy == "auto" or target.pods == 1 or len(name) <= NAME_LENGTH:
        return None
    return Refusal(
        NAME_TOO_LONG,
        f"With several pods for a replica and rollout.strategy {target.rollout.strategy} the name "
        f"may have {NAME_LENGTH} characters, {name} has {len(name)}: take a shorter one, or auto.",
    )
