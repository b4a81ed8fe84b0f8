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
    ProgressiveInput,
    SetView,
    Traffic,
    align_with_spec,
    collapsed,
)
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.progressive.samples import Histogram, Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN, Color

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = 10
EDGES = (0.1, 0.5, 1.0, 5.0, float("inf"))
ALL = Traffic({BLUE: 100, GREEN: 0}, (BLUE, GREEN))
STRATEGIES = {"canary": canary, "blueGreen": blue_green}


@dataclass
class Pod:
    revision: str
    scheduled: bool = False
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
        failure: Revisions that never serve.
    """

    rules: Rollout
    spec: str = "a"
    replicas: int = 3
    gpus: int | None = None
    load: int = 60
    bad: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    now: datetime = START
    pods: dict[Color, dict[str, Pod]] = field(default_factory=lambda: {BLUE: {}, GREEN: {}})
    wanted: dict[Color, tuple[str, int]] = field(default_factory=dict)
    note: str = ""
    traffic: Traffic = ALL
    states: list[RolloutState] = field(default_factory=list)
    serving: list[int] = field(default_factory=list)
    names: int = 0

    # The cluster

    def tick(self) -> None:
        """Advance ten seconds: create, schedule and load pods, and send requests."""
        self.now += timedelta(seconds=TICK)
        for color in (BLUE, GREEN):
            self._replaced(color)
        ready = [(color, pod) for color in (BLUE, GREEN) for pod in self.ready(color)]
        self.serving.append(len([1 for color, _ in ready if color in self.traffic.common]))
        for color, pod in ready:
            if color in self.traffic.common:
                pod.counted += 20

    def _replaced(self, color: Color) -> None:
        """Replace pods like a Deployment's controller: at most one unavailable, youngest first."""
        revision, number = self.wanted.get(color, ("", 0))
        pods = self.pods[color]
        old = sorted(
            (n for n, p in pods.items() if p.revision != revision), key=lambda n: pods[n].age
        )
        for name in old:
            serves = self._serves(pods[name])
            if not serves or len(self.ready(color)) >= number:
                del pods[name]
        while len(pods) > number:
            del pods[min(pods, key=lambda name: pods[name].age)]
        while len(pods) < number:
            self.names += 1
            pods[f"p{self.names}"] = Pod(revision)
        held = sum(pod.scheduled for pods in self.pods.values() for pod in pods.values())
        for pod in pods.values():
            if pod.scheduled:
                pod.age += TICK
            elif self.gpus is None or held < self.gpus:
                pod.scheduled, held = True, held + 1

    def ready(self, color: Color) -> list[Pod]:
        return [pod for pod in self.pods[color].values() if self._serves(pod)]

    def _serves(self, pod: Pod) -> bool:
        return pod.age >= self.load and pod.revision not in self.broken

    # The operator

    def view(self, color: Color) -> SetView:
        pods = self.pods[color]
        revision, number = self.wanted.get(color, ("", 0))
        return SetView(
            revision=revision,
            exists=color in self.wanted or bool(pods),
            wanted=number,
            replicas=len(pods),
            scheduled=sum(pod.scheduled for pod in pods.values()),
            ready=len(self.ready(color)),
            rolling=any(pod.revision != revision for pod in pods.values()),
        )

    def inputs(self, state: RolloutState) -> ProgressiveInput:
        held = [len([p for p in self.pods[s].values() if p.scheduled]) for s in (BLUE, GREEN)]
        broken = any(
            pod.revision in self.broken and pod.age > 300
            for pod in self.pods[state.candidate_color].values()
        )
        candidate = self.view(state.candidate_color)
        whole = candidate.ready and candidate.ready == candidate.wanted
        return ProgressiveInput(
            rules=self.rules,
            newest=self.spec,
            wanted=self.replicas,
            stable=self.view(state.stable),
            candidate=candidate,
            now=self.now,
            capacity=None if self.gpus is None else max(self.gpus, sum(held)),
            failure="It never serves." if broken else "",
            samples={color: self.samples(color) for color in (BLUE, GREEN)},
            smoke_passed=(candidate.revision not in self.bad) if whole else None,
            smoke_problem="It answers nonsense.",
        )

    def samples(self, color: Color) -> dict[str, Sample]:
        warm = self.load + 60
        return {
            name: self.counted(pod) for name, pod in self.pods[color].items() if pod.age >= warm
        }

    def counted(self, pod: Pod) -> Sample:
        number = float(pod.counted)
        errors = number // 3 if pod.revision in self.bad else 0.0
        return Sample(number, errors, Histogram(EDGES, (0.0, number, 0.0, 0.0, 0.0), 0.3 * number))

    def writes(self) -> list[Callable[[], None]]:
        """Return the writes of one pass of the operator, in order."""
        state = RolloutState.parse(self.note) or RolloutState(BLUE, self.spec)
        if self.rules.strategy == "auto":
            candidate, stable = state.candidate_color, state.stable
            state = collapsed(state, self.view(candidate), self.view(stable), self.spec)
            state = replace(state, revision=self.spec)
            strategy: Any = canary
        else:
            strategy = STRATEGIES[self.rules.strategy]
            state = strategy.advance(*align_with_spec(state, self.inputs(state)))
        inputs = self.inputs(state)
        sizes = strategy.sizes(state, inputs)
        given = strategy.traffic(state, inputs)
        todo: list[Callable[[], None]] = []
        if (str(state), given) != (self.note, self.traffic):
            todo.append(lambda: self._note(state, given))
        if not state.candidate and state.candidate_color in self.wanted:
            todo.append(lambda: self._remove(state.candidate_color))
        sets = [(state.stable, state.revision, sizes[0])]
        if state.candidate:
            sets.append((state.candidate_color, state.candidate, sizes[1]))
        for color, revision, number in sets:
            if self.wanted.get(color) != (revision, number):
                todo.append(lambda s=color, r=revision, n=number: self.wanted.update({s: (r, n)}))
        return todo

    def _note(self, state: RolloutState, given: Traffic) -> None:
        self.note, self.traffic = str(state), given
        self.states.append(state)

    def _remove(self, color: Color) -> None:
        del self.wanted[color]
        self.pods[color].clear()

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
    def state(self) -> RolloutState:
        found = RolloutState.parse(self.note)
        assert found is not None
        return found
