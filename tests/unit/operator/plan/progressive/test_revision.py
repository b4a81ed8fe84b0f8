"""Content of a revision, and the spec reconstructed from it."""

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
def test_fields_without_effect_on_pods_keep_the_revision(
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
def test_fields_that_change_pods_change_the_revision(more: dict[str, Any]) -> None:
    assert name(**more) != name()
    assert len(name(**more)) == 10


def test_new_default_image_changes_the_revision() -> None:
    newer = replace(SETTINGS, server_image="registry/server:2")
    assert revision(spec(), newer).name != name()


def test_spec_of_a_revision_keeps_its_pods_and_the_newest_rest() -> None:
    old = spec(engine={"args": ["--old"]}, rollout={"drainSeconds": 5}, replicas=2)
    new = spec(engine={"args": ["--new"]}, rollout={"strategy": "canary"}, replicas=7)
    made = spec_of(revision(old, SETTINGS), new)
    assert made.engine.args == ["--old"]
    assert made.engine.image == SETTINGS.server_image
    assert (made.rollout.drain_seconds, made.rollout.strategy, made.replicas) == (5, "canary", 7)
    assert revision(made, SETTINGS) == revision(old, SETTINGS), "the revision is the same"


def test_invalid_revision_is_refused() -> None:
    with pytest.raises(ValueError, match="model"):
        spec_of(Revision("x", {"model": 5}), spec())
