"""Canary and blue-green in virtual time, with the operator killed after every write."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.progressive import canary as steps_of_a_canary
from deepseek_operator.plan.progressive.progression import ProgressiveInput, SetView, recovered
from deepseek_operator.plan.progressive.rollout_state import Failure, RolloutState
from deepseek_operator.plan.progressive.samples import Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN
from tests.support.operator.simulated_progression import START, World

STEPS = [{"weight": 10, "pause": "2m"}, {"weight": 50, "pause": "3m"}]


def canary(**more: Any) -> Rollout:
    return Rollout.model_validate({"strategy": "canary", "canary": {"steps": STEPS}, **more})


def blue_green(**more: Any) -> Rollout:
    return Rollout.model_validate({"strategy": "blueGreen", **more})


def serving(rules: Rollout, **more: Any) -> World:
    """Return a world in which revision `a` serves and the spec has just changed to `b`."""
    world = World(rules, **more)
    world.run(600)
    assert world.state == RolloutState(BLUE, "a")
    world.spec, world.serving = "b", []
    return world


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("rules", [canary(), blue_green()])
def test_good_revision_is_promoted_in_place(rules: Rollout, killed: bool) -> None:
    world = serving(rules)
    world.run(3600, killed)
    assert world.state == RolloutState(GREEN, "b")
    assert world.wanted == {GREEN: ("b", 3)}
    assert min(world.serving) == 3, "as many replicas as before serve all the time"
    world.spec = "c"
    world.run(3600, killed)
    assert world.state == RolloutState(BLUE, "c"), "the next revision uses the other color"


def test_canary_takes_its_steps_in_order_with_pauses() -> None:
    world = serving(canary())
    world.run(3600)
    steps = [state.step for state in world.states if state.candidate]
    assert steps == sorted(steps)
    assert set(steps) == {0, 1, 2}
    begun = {state.step: state.since for state in world.states if state.since}
    first, second = begun[0], begun[1]
    assert first is not None
    assert second is not None
    assert second - first >= timedelta(minutes=2)


@pytest.mark.parametrize("rules", [canary(), blue_green()])
@pytest.mark.parametrize("how", ["bad", "broken"])
def test_worse_revision_is_rolled_back_and_not_retried(rules: Rollout, how: str) -> None:
    world = serving(rules, **{how: frozenset("b")})
    world.run(3600)
    assert (world.state.stable, world.state.revision, world.state.candidate) == (BLUE, "a", "")
    assert world.state.failed is not None
    assert world.state.failed.revision == "b"
    assert world.wanted == {BLUE: ("a", 3)}
    assert min(world.serving) == 3
    count = len(world.states)
    world.run(3600)
    assert len(world.states) == count, "the rollback is permanent"
    world.spec = "c"
    world.run(3600)
    assert world.state == RolloutState(GREEN, "c")


@pytest.mark.parametrize("rules", [canary(), blue_green()])
def test_reverted_spec_withdraws_the_candidate(rules: Rollout) -> None:
    world = serving(rules)
    world.run(200)
    assert world.state.candidate == "b"
    world.spec = "a"
    world.run(60)
    assert world.state == RolloutState(BLUE, "a")
    assert world.wanted == {BLUE: ("a", 3)}


@pytest.mark.parametrize("rules", [canary(), blue_green()])
def test_edit_during_a_rollout_ends_at_the_newest_revision(rules: Rollout) -> None:
    world = serving(rules)
    world.run(40)
    world.spec = "c"
    world.run(20)
    assert world.state == RolloutState(BLUE, "a", "c")
    world.run(3600)
    assert world.state == RolloutState(GREEN, "c")
    assert min(world.serving) == 3


def test_canary_without_a_free_slot_replaces_one_replica() -> None:
    world = serving(canary(), gpus=3)
    world.run(120)
    assert world.wanted == {BLUE: ("a", 2), GREEN: ("b", 1)}
    world.run(3600)
    assert world.state == RolloutState(GREEN, "b")
    assert min(world.serving) == 2, "at most one replica is missing"


def test_free_slot_is_used_first() -> None:
    world = serving(canary(), gpus=4)
    world.run(120)
    assert world.wanted == {BLUE: ("a", 3), GREEN: ("b", 1)}
    world.run(3600)
    assert world.state == RolloutState(GREEN, "b")
    assert min(world.serving) == 3


def test_last_replica_is_never_replaced_by_a_canary() -> None:
    world = serving(canary(), gpus=1, replicas=1)
    world.run(3600)
    assert world.state == RolloutState(BLUE, "a", "b")
    assert world.wanted[BLUE] == ("a", 1)
    assert min(world.serving) == 1
    world.gpus = 2
    world.run(3600)
    assert world.state == RolloutState(GREEN, "b")


def test_wait_policy_keeps_all_stable_replicas() -> None:
    world = serving(canary(whenNoGpuIsFree="wait"), gpus=3)
    world.run(3600)
    assert world.wanted == {BLUE: ("a", 3), GREEN: ("b", 1)}
    assert min(world.serving) == 3


def test_failed_candidate_releases_its_slot() -> None:
    world = serving(canary(), gpus=3, bad=frozenset("b"))
    world.run(3600)
    assert world.wanted == {BLUE: ("a", 3)}
    assert len(world.ready(BLUE)) == 3


@pytest.mark.parametrize("rules", [canary(hold=True), blue_green(hold=True)])
def test_hold_pauses_the_rollout_until_it_is_removed(rules: Rollout) -> None:
    world = serving(rules)
    world.run(3600)
    assert world.state.candidate == "b"
    assert (world.state.step, world.state.switched) == (0, None)
    world.rules = rules.model_copy(update={"hold": False})
    world.run(3600)
    assert world.state == RolloutState(GREEN, "b")


@pytest.mark.parametrize("rules", [canary(hold=True), blue_green(hold=True)])
def test_worse_revision_is_rolled_back_during_a_hold(rules: Rollout) -> None:
    world = serving(rules, bad=frozenset("b"))
    world.run(3600)
    assert world.state.failed is not None


@pytest.mark.parametrize("rules", [canary(hold=True), blue_green(hold=True)])
def test_promote_skips_all_steps(rules: Rollout) -> None:
    world = serving(rules)
    world.rules = rules.model_copy(update={"promote": "b"})
    world.run(1200)
    assert world.state == RolloutState(GREEN, "b")
    world.spec = "c"
    world.run(600)
    assert world.state.candidate == "c", "promote does not apply to later revisions"


@pytest.mark.parametrize("rules", [canary(), blue_green()])
def test_abort_applies_at_once_and_only_to_its_revision(rules: Rollout) -> None:
    world = serving(rules)
    world.run(200)
    world.rules = rules.model_copy(update={"abort": "b"})
    world.run(20)
    assert world.state.failed is not None
    assert world.state.failed.reason == "Aborted"
    assert world.wanted == {BLUE: ("a", 3)}
    world.spec = "c"
    world.run(3600)
    assert world.state == RolloutState(GREEN, "c")


@pytest.mark.parametrize("rules", [canary(), blue_green()])
def test_promote_retries_a_failed_revision(rules: Rollout) -> None:
    world = serving(rules, bad=frozenset("b"))
    world.run(3600)
    world.rules = rules.model_copy(update={"promote": "b"})
    world.run(3600)
    assert (world.state.stable, world.state.revision) == (GREEN, "b")


def test_blue_green_switches_at_once_and_can_switch_back() -> None:
    world = serving(blue_green())
    while not world.state.switched:
        assert world.traffic.common in ((BLUE,), (BLUE, GREEN))
        world.run(10)
    assert world.traffic.common == (GREEN,)
    assert world.traffic.weights == {BLUE: 0, GREEN: 100}
    assert world.wanted == {BLUE: ("a", 3), GREEN: ("b", 3)}
    world.run(300)
    world.spec = "a"
    world.look()
    assert world.state == RolloutState(BLUE, "a")
    assert world.traffic.weights == {BLUE: 100, GREEN: 0}
    assert min(world.serving) == 3


def test_blue_green_switches_back_when_the_new_set_is_lost() -> None:
    world = serving(blue_green())
    world.run(300)
    assert world.state.switched
    world.broken = frozenset("b")
    world.look()
    assert world.state.failed is not None
    assert world.state.failed.reason == "CandidateLost"
    assert world.wanted == {BLUE: ("a", 3)}


def test_edit_after_the_switch_promotes_the_serving_set() -> None:
    world = serving(blue_green())
    world.run(300)
    assert world.state.switched
    world.spec = "c"
    world.look()
    assert world.state == RolloutState(GREEN, "b", "c")
    world.run(3600)
    assert world.state == RolloutState(BLUE, "c")
    assert min(world.serving) == 3


def test_blue_green_without_free_slots_waits_while_serving() -> None:
    world = serving(blue_green(), gpus=4)
    world.run(3600)
    assert world.state == RolloutState(BLUE, "a", "b")
    assert min(world.serving) == 3


def test_change_before_any_replica_serves_takes_no_steps() -> None:
    world = World(canary(), broken=frozenset("a"))
    world.run(60)
    world.spec = "b"
    world.run(600)
    assert world.state == RolloutState(BLUE, "b")
    assert set(world.wanted) == {BLUE}


@pytest.mark.parametrize("rules", [canary(), blue_green()])
def test_scaling_to_zero_during_a_rollout_continues_with_the_newest_revision(
    rules: Rollout,
) -> None:
    world = serving(rules)
    world.run(200)
    world.replicas = 0
    world.run(60)
    assert world.state == RolloutState(BLUE, "b")
    world.replicas = 2
    world.run(600)
    assert world.wanted == {BLUE: ("b", 2)}


@pytest.mark.parametrize("rules", [canary(), blue_green()])
@pytest.mark.parametrize("seconds", [100, 300, 500, 800])
def test_change_to_auto_keeps_one_serving_set(rules: Rollout, seconds: int) -> None:
    world = serving(rules)
    world.run(seconds)
    world.rules = Rollout()
    world.run(600)
    assert list(world.wanted.values()) == [("b", 3)]
    assert min(world.serving) >= 2


def test_deleted_record_is_reconstructed_from_the_sets() -> None:
    a = SetView("a", exists=True)
    b = SetView("b", exists=True)
    numbers = {"a": 1, "b": 2}
    assert recovered({BLUE: a, GREEN: SetView()}, {}, "a") == RolloutState(BLUE, "a")
    assert recovered({BLUE: SetView(), GREEN: b}, numbers, "c") == RolloutState(GREEN, "b")
    assert recovered({BLUE: a, GREEN: b}, numbers, "b") == RolloutState(BLUE, "a", "b")
    assert recovered({BLUE: b, GREEN: a}, numbers, "b") == RolloutState(GREEN, "a", "b")
    assert recovered({BLUE: SetView(), GREEN: SetView()}, {}, "a") == RolloutState(BLUE, "a")


def test_record_round_trips_through_its_annotation() -> None:
    baselines = {"p": Sample(3, 1).baseline}
    failed = Failure("b", "Aborted", "why", "2026-01-01T00:00:00Z")
    for state in (
        RolloutState(GREEN, "a"),
        RolloutState(BLUE, "a", "b", 2, START, None, None, baselines),
        RolloutState(BLUE, "a", "b", switched=START),
        RolloutState(BLUE, "a", failed=failed),
    ):
        assert RolloutState.parse(str(state)) == state


@pytest.mark.parametrize("text", [None, "", "x", "[]", "{}", '{"stable":"red","revision":"a"}',
                                  '{"stable":"blue","revision":"a","marks":{"p":[1]}}',
                                  '{"stable":"blue","revision":"a","failed":{"x":1}}'])  # fmt: skip
def test_invalid_annotation_is_no_record(text: str | None) -> None:
    assert RolloutState.parse(text) is None


@pytest.mark.parametrize(("stable", "rolled_back"), [(0, False), (1, True)])
def test_sole_serving_candidate_survives_one_broken_replica(stable: int, rolled_back: bool) -> None:
    state = RolloutState(BLUE, "a", "b", step=len(canary().canary.steps))
    inputs = ProgressiveInput(
        canary(),
        "b",
        3,
        stable=SetView("a", True, stable, stable, stable, stable),
        candidate=SetView("b", True, 3, 3, 3, 2),
        now=START,
        failure="It never serves.",
    )
    after = steps_of_a_canary.advance(state, inputs)
    assert bool(after.failed) is rolled_back
    assert after.candidate == ("" if rolled_back else "b")


@pytest.mark.parametrize("edit", ["a", "c"])
@pytest.mark.parametrize("seconds", [260, 440, 480, 520, 700])
@pytest.mark.parametrize("replicas", [2, 3])
def test_withdrawn_canary_serves_until_the_stable_set_is_back(
    replicas: int, seconds: int, edit: str
) -> None:
    world = World(canary(), replicas=replicas, gpus=replicas)
    world.run(300)
    world.serving = []
    world.spec = "b"
    world.run(seconds)
    world.spec = edit
    world.run(3600)
    assert min(world.serving) == replicas - 1
    assert not world.state.candidate
    assert world.state.revision == edit


@given(
    strategy=st.sampled_from(["canary", "blueGreen"]),
    replicas=st.integers(1, 6),
    spare=st.integers(0, 7),
    edits=st.lists(st.tuples(st.integers(1, 120), st.sampled_from("abcd")), max_size=5),
    bad=st.frozensets(st.sampled_from("bcd"), max_size=1),
)
@settings(deadline=None, max_examples=60)
def test_any_edits_keep_a_replica_serving_and_converge(
    strategy: str, replicas: int, spare: int, edits: list[tuple[int, str]], bad: frozenset[str]
) -> None:
    rules = canary() if strategy == "canary" else blue_green()
    world = World(rules, replicas=replicas, gpus=replicas + spare, bad=bad)
    world.run(300)
    world.serving = []
    for ticks, spec in edits:
        world.spec = spec
        world.run(10 * ticks)
    world.run(6 * 3600)
    assert min(world.serving) >= max(1, replicas - 1) or bad
    assert min(world.serving) >= 1
    room = spare >= (1 if strategy == "canary" and replicas == 1 else 0)
    enough = room if strategy == "canary" else spare >= replicas
    if enough:
        state = world.state
        assert not state.candidate
        served = state.revision
        assert served == world.spec if world.spec not in bad else served not in bad
        assert len(world.ready(state.stable)) == replicas


def test_set_view_counts_every_replica() -> None:
    view = SetView("a", True, 2, 2, 2, 2)
    assert view.serves(2)
    assert not view.serves(3)
    assert not replace(view, rolling=True).serves(2)
    assert not replace(view, replicas=3).serves(2), "one is still terminating"
