"""What shall be for a resource: one set of pods, or a second one beside it."""

from dataclasses import dataclass

from deepseek_operator.plan.change import Traffic
from deepseek_operator.plan.labels import BLUE, GREEN, Slot, service_name
from deepseek_operator.plan.record import Record
from deepseek_operator.plan.revision import Revision
from deepseek_operator.plan.target import Target

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
    def backends(self) -> tuple[tuple[str, int], ...]:
        """The Services that share the requests of a route, each with its percent."""
        name = self.lead.resource.name
        if self.other is None:
            return ((name, 100),)
        return tuple(
            (service_name(name, slot), self.traffic.weights[slot]) for slot in (BLUE, GREEN)
        )

    def of(self, slot: Slot) -> Target | None:
        """The set in a place."""
        return next((target for target in self.both if target.slot == slot), None)
