"""Simulated cluster in virtual time, in which a candidate starts beside the stable set.

The operator keeps no state between writes: every decision is made from the cluster's state, as after a
restart of the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.progression import (
    SetView,
    Situation,
    Traffic,
    faced,
    settled,
)
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.progressive.samples import Histogram, Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN, Slot

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = 10
EDGES = (0.1, 0.5, 1.0, 5.0, float("inf"))
ALL = Traffic({BLUE: 100, GREEN: 0}, (BLUE, GREEN))
MACHINES = {"canary": canary, "blueGreen": blue_green}


@dataclass
class Pod:
    revision: str
    placed: bool = False
    age: int = 0
    counted: int = 0


@dataclass
class World:
    """The cluster and the operator.

    Args:
        rules: `spec.rollout`.
        spec: The revision of the spec.
        replicas: Desired replicas.
        gpus: Slots for replicas; None: unlimited.
        load: Seconds until a scheduled replica serves.
        bad: Revisions whose servers fail a third of the requests.
        broken: Revisions that never serve.
    """

    rules: Rollout
    spec: str = "a"
    replicas: int = 3
    gpus: int | None = None
    load: int = 60
    bad: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    now: datetime = START
    pods: dict[Slot, dict[str, Pod]] = field(default_factory=lambda: {BLUE: {}, GREEN: {}})
    wanted: dict[Slot, tuple[str, int]] = field(default_factory=dict)
    note: str = ""
    traffic: Traffic = ALL
    records: list[Record] = field(default_factory=list)
    serving: list[int] = field(default_factory=list)
    names: int = 0

    # The cluster

    def tick(self) -> None:
        """Advance ten seconds: create, schedule and load pods, and send requests."""
        self.now += timedelta(seconds=TICK)
        for slot in (BLUE, GREEN):
            self._replaced(slot)
        ready = [(slot, pod) for slot in (BLUE, GREEN) for pod in self.ready(slot)]
        self.serving.append(len([1 for slot, _ in ready if slot in self.traffic.common]))
        for slot, pod in ready:
            if slot in self.traffic.common:
                pod.counted += 20

    def _replaced(self, slot: Slot) -> None:
        """Replace pods like a Deployment's controller: at most one unavailable, youngest first."""
        revision, number = self.wanted.get(slot, ("", 0))
        pods = self.pods[slot]
        old = sorted(
            (n for n, p in pods.items() if p.revision != revision), key=lambda n: pods[n].age
        )
        for name in old:
            serves = self._serves(pods[name])
            if not serves or len(self.ready(slot)) >= number:
                del pods[name]
        while len(pods) > number:
            del pods[min(pods, key=lambda name: pods[name].age)]
        while len(pods) < number:
            self.names += 1
            pods[f"p{self.names}"] = Pod(revision)
        held = sum(pod.placed for pods in self.pods.values() for pod in pods.values())
        for pod in pods.values():
            if pod.placed:
                pod.age += TICK
            elif self.gpus is None or held < self.gpus:
                pod.placed, held = True, held + 1

    def ready(self, slot: Slot) -> list[Pod]:
        return [pod for pod in self.pods[slot].values() if self._serves(pod)]

    def _serves(self, pod: Pod) -> bool:
        return pod.age >= self.load and pod.revision not in self.broken

    # The operator

    def view(self, slot: Slot) -> SetView:
        pods = self.pods[slot]
        revision, number = self.wanted.get(slot, ("", 0))
        return SetView(
            revision=revision,
            there=slot in self.wanted or bool(pods),
            wanted=number,
            replicas=len(pods),
            placed=sum(pod.placed for pod in pods.values()),
            ready=len(self.ready(slot)),
            rolling=any(pod.revision != revision for pod in pods.values()),
        )

    def situation(self, record: Record) -> Situation:
        held = [len([p for p in self.pods[s].values() if p.placed]) for s in (BLUE, GREEN)]
        broken = any(
            pod.revision in self.broken and pod.age > 300
            for pod in self.pods[record.place].values()
        )
        candidate = self.view(record.place)
        whole = candidate.ready and candidate.ready == candidate.wanted
        return Situation(
            rules=self.rules,
            newest=self.spec,
            wanted=self.replicas,
            stable=self.view(record.stable),
            candidate=candidate,
            now=self.now,
            room=None if self.gpus is None else max(self.gpus, sum(held)),
            broken="It never serves." if broken else "",
            samples={slot: self.samples(slot) for slot in (BLUE, GREEN)},
            check=(candidate.revision not in self.bad) if whole else None,
            problem="It answers nonsense.",
        )

    def samples(self, slot: Slot) -> dict[str, Sample]:
        warm = self.load + 60
        return {name: self.counted(pod) for name, pod in self.pods[slot].items() if pod.age >= warm}

    def counted(self, pod: Pod) -> Sample:
        number = float(pod.counted)
        errors = number // 3 if pod.revision in self.bad else 0.0
        return Sample(number, errors, Histogram(EDGES, (0.0, number, 0.0, 0.0, 0.0), 0.3 * number))

    def writes(self) -> list[Callable[[], None]]:
        """Return the writes of one pass of the operator, in order."""
        record = Record.parse(self.note) or Record(BLUE, self.spec)
        if self.rules.strategy == "auto":
            place, stable = record.place, record.stable
            record = settled(record, self.view(place), self.view(stable), self.spec)
            record = replace(record, revision=self.spec)
            machine: Any = canary
        else:
            machine = MACHINES[self.rules.strategy]
            record = machine.advance(*faced(record, self.situation(record)))
        situation = self.situation(record)
        sizes = machine.sizes(record, situation)
        given = machine.traffic(record, situation)
        todo: list[Callable[[], None]] = []
        if (str(record), given) != (self.note, self.traffic):
            todo.append(lambda: self._note(record, given))
        if not record.candidate and record.place in self.wanted:
            todo.append(lambda: self._remove(record.place))
        sets = [(record.stable, record.revision, sizes[0])]
        if record.candidate:
            sets.append((record.place, record.candidate, sizes[1]))
        for slot, revision, number in sets:
            if self.wanted.get(slot) != (revision, number):
                todo.append(lambda s=slot, r=revision, n=number: self.wanted.update({s: (r, n)}))
        return todo

    def _note(self, record: Record, given: Traffic) -> None:
        self.note, self.traffic = str(record), given
        self.records.append(record)

    def _remove(self, slot: Slot) -> None:
        del self.wanted[slot]
        self.pods[slot].clear()

    def look(self, killed: bool = True) -> None:
        """Run the operator; with `killed` it restarts from the cluster's state after every write."""
        for _ in range(50):
            todo = self.writes()
            if not todo:
                return
            for write in todo[:1] if killed else todo:
                write()
        raise AssertionError("the operator does not settle")

    def run(self, seconds: int, killed: bool = True) -> None:
        for _ in range(seconds // TICK):
            self.look(killed)
            self.tick()
        self.look(killed)

    @property
    def record(self) -> Record:
        found = Record.parse(self.note)
        assert found is not None
        return found
