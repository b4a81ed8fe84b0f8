"""What belongs to a revision, and that a set can be made again from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.spec import Spec
from deepseek_operator.plan.progressive.revision import Revision, revision, spec_of
from tests.support.operator.resources import R1, SETTINGS


def spec(**more: Any) -> Spec:
    return Spec.model_validate({"model": {"id": R1}, **more})


def name(**more: Any) -> str:
    return revision(spec(**more), SETTINGS).name


@pytest.mark.parametrize("more", [
    {"replicas": 4},
    {"scaling": {"maxReplicas": 3}},
    {"rollout": {"strategy": "canary", "hold": True, "whenNoGpuIsFree": "wait"}},
    {"security": {"allowFrom": [{"namespace": "apps"}]}},
    {"observability": {"podMonitor": True}},
    {"engine": {}},
    {"model": {"id": R1, "revision": "main"}},
])  # fmt: skip
def test_what_makes_no_pods_and_what_is_the_default_is_no_other_revision(
    more: dict[str, Any],
) -> None:
    assert name(**more) == name()


@pytest.mark.parametrize("more", [
    {"model": {"id": R1, "maxContext": 1024}},
    {"engine": {"args": ["--x"]}},
    {"engine": {"image": "other:1"}},
    {"rollout": {"drainSeconds": 5}},
    {"accelerator": {"count": 2}},
    {"podTemplate": {"metadata": {"annotations": {"note": "b"}}}},
])  # fmt: skip
def test_what_makes_other_pods_is_another_revision(more: dict[str, Any]) -> None:
    assert name(**more) != name()
    assert len(name(**more)) == 10


def test_a_new_image_of_the_installation_is_another_revision() -> None:
    newer = replace(SETTINGS, server_image="registry/server:2")
    assert revision(spec(), newer).name != name()


def test_a_set_is_made_again_of_its_revision_and_of_what_is_not_about_pods_now() -> None:
    old = spec(engine={"args": ["--old"]}, rollout={"drainSeconds": 5}, replicas=2)
    new = spec(engine={"args": ["--new"]}, rollout={"strategy": "canary"}, replicas=7)
    made = spec_of(revision(old, SETTINGS), new)
    assert made.engine.args == ["--old"]
    assert made.engine.image == SETTINGS.server_image
    assert (made.rollout.drain_seconds, made.rollout.strategy, made.replicas) == (5, "canary", 7)
    assert revision(made, SETTINGS) == revision(old, SETTINGS), "and is of the same revision"


def test_what_somebody_wrote_into_a_revision_is_refused() -> None:
    with pytest.raises(ValueError, match="model"):
        spec_of(Revision("x", {"model": 5}), spec())
