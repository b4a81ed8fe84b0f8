"""Output of `deepseek plan`."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_operator.advisor.cost import Offer
from deepseek_operator.advisor.options import chosen, options
from deepseek_operator.advisor.proposal import propose
from deepseek_operator.advisor.provisioning import Requirements
from deepseek_operator.advisor.workload import Load
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import prices
from deepseek_operator.cli.assumptions import KINDS
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.sizing.fit import compute_type, wanted
from deepseek_operator.plan.sizing.memory import Memory
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from tests.support.operator.resources import SETTINGS
from tests.unit.operator.cli.command import Result, deepseek
from tests.unit.operator.cli.golden import DAY, EXAMPLES, files

GOLDEN = Path(__file__).parent / "golden"
NAMES = [name for name in models() if models().get(name) is not None]
KINDS_OF_GPU = sorted(accelerators().profiles)
KNOWN, TODAY = prices(), date.fromisoformat(DAY)
EVERYTHING = Observed(served=frozenset(KINDS))
SEVEN = {"id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"}


def resource(folder: Path, **spec: Any) -> Path:
    file = folder / "resource.yaml"
    body = {
        "apiVersion": "deepseek-operator.io/v1alpha1",
        "kind": "DeepSeekDeployment",
        "metadata": {"name": "r1"},
        "spec": spec,
    }
    file.write_text(yaml.safe_dump(body))
    return file


def plan(folder: Path, *options: object, **spec: Any) -> dict[str, Any]:
    result = run(folder, *options, **spec)
    assert result.code == 0, result.err
    data: dict[str, Any] = json.loads(result.out)
    return data


def run(folder: Path, *options: object, **spec: Any) -> Result:
    file = resource(folder, **spec)
    return deepseek("plan", file, "-o", "json", "--as-of", DAY, *options)


def test_golden_files() -> None:
    """After an intended change run python -m tests.unit.operator.cli.golden and review the diff."""
    wanted_files = files()
    assert {path.name: path.read_text(encoding="utf-8") for path in wanted_files} == {
        path.name: text for path, text in wanted_files.items()
    }
    assert {path.name for path in GOLDEN.iterdir() if path.suffix in (".json", ".txt")} == {
        path.name for path in wanted_files
    }


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_has_a_page(path: Path) -> None:
    if "kind: DeepSeekDeployment" not in path.read_text(encoding="utf-8"):
        assert deepseek("plan", path).code == 2
        return
    result = deepseek("plan", path, "--requests", 2)
    assert result.code == 0, result.err
    assert "Allowed inbound traffic" in result.out


def test_a_replica_of_several_nodes(tmp_path: Path) -> None:
    asked = {"model": {"id": "deepseek-ai/DeepSeek-R1"}, "parallelism": {"tensor": 16}}
    data = plan(tmp_path, **asked, accelerator={"profile": "nvidia-h100"})
    assert data["shape"]["podsOfReplica"] == 2
    assert data["shape"]["gpus"]["min"] == 16
    assert data["performance"] is None
    assert min(offer["what"][0] for offer in data["cost"]["offers"]) == "2"
    assert any("No speed prediction" in warning for warning in data["warnings"])
    refused = run(tmp_path, "--served", "none", **asked, accelerator={"profile": "nvidia-h100"})
    assert (refused.code, "LeaderWorkerSet" in refused.err) == (1, True)


def test_the_arithmetic_adds_up(tmp_path: Path) -> None:
    fit = plan(tmp_path, model=SEVEN, accelerator={"profile": "nvidia-h200"})["fit"]
    sizes = fit["bytesOfGpu"]
    assert sizes["total"] == sum(size for name, size in sizes.items() if name != "total")
    assert sizes["weights"] == pytest.approx(15.2e9, rel=0.01)


def test_a_refusal_has_the_operators_message_as_text_and_json(tmp_path: Path) -> None:
    result = run(
        tmp_path, model={"id": "deepseek-ai/DeepSeek-R1"}, accelerator={"profile": "nvidia-l4"}
    )
    assert result.code == 1
    data = json.loads(result.out)
    assert data["reason"] == "DoesNotFit"
    assert data["message"] in result.err
    assert "What would fit:" in data["message"]


def test_performance_includes_its_error(tmp_path: Path) -> None:
    speed = plan(tmp_path, model=SEVEN, accelerator={"profile": "nvidia-h200"})["performance"]
    rates = {row["atOnce"]: row["outputTokensPerSecond"] for row in speed["ofReplica"]}
    assert rates[1] == pytest.approx(199, rel=0.3)
    assert rates[256] == pytest.approx(7607, rel=0.3)
    assert 0.05 <= speed["error"] < 0.3


def test_cost_at_a_given_load(tmp_path: Path) -> None:
    asked = {"model": SEVEN, "accelerator": {"profile": "nvidia-l4"}, "replicas": 2}
    cost = plan(tmp_path, "--requests", 2, "--answer", 100, "--hours", 12, **asked)["cost"]
    assert cost["load"]["outputTokensPerMonth"] == round(2 * 100 * 3600 * 730 / 2)
    (aws,) = (
        offer
        for offer in cost["offers"]
        if offer["terms"] == "on demand" and offer["where"] == "aws us-east-1"
    )
    assert aws["perHour"] == pytest.approx(2 * 0.805)
    expected = 2 * 0.805 * 730 / (100 * 3600 * 730 / 1e6)
    assert aws["perMillionOutputTokens"] == pytest.approx(expected, rel=0.01)


def test_offers_include_a_hosted_api_for_a_given_load(tmp_path: Path) -> None:
    asked = {"model": {"id": "deepseek-ai/DeepSeek-R1"}, "accelerator": {"profile": "nvidia-h200"}}
    offers = plan(tmp_path, "--requests", 1, "--answer", 500, **asked)["cost"]["offers"]
    (hosted,) = (offer for offer in offers if offer["terms"] == "hosted")
    each = (512 * 0.55 + 500 * 2.19) / 500
    assert hosted["perMillionOutputTokens"] == pytest.approx(each, rel=0.01)
    assert not any(
        offer["terms"] == "hosted" for offer in plan(tmp_path, **asked)["cost"]["offers"]
    )


def test_autoscaled_replicas_have_a_minimum_and_a_maximum_cost(tmp_path: Path) -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 4}
    asked = {"model": SEVEN, "accelerator": {"profile": "nvidia-l4"}, "scaling": scaling}
    cost = plan(tmp_path, **asked)["cost"]
    assert cost["atMost"]["replicas"] == 4
    assert cost["atMost"]["offers"][0]["perHour"] > cost["offers"][0]["perHour"]


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        (["--requests", 500], {}, "requests/s of 1 replica(s)"),
        ([], {"replicas": 1}, "a rollout interrupts the service"),
        ([], {"replicas": 0}, "nothing is charged"),
        ([], {"accelerator": None}, "It runs on the CPU"),
        ([], {"accelerator": {"count": 1}}, "Whether the model fits was not checked"),
        (["--served", "none"], {"routing": {"hosts": ["a.example"]}}, "neither Istio nor"),
        (
            [],
            {"routing": {"hosts": ["a.example"]}},
            "All clients that reach the gateway can send requests",
        ),
        ([], {"engine": {"type": "vllm"}}, "The speed is predicted for the bundled server"),
        ([], {"accelerator": {"profile": "nvidia-h20"}}, "no price for nvidia-h20"),
    ],
    ids=["load", "alone", "none", "cpu", "unchecked", "no route", "open", "engine", "no price"],
)
def test_warnings(
    options: list[object], spec: dict[str, Any], message: str, tmp_path: Path
) -> None:
    asked = {"model": SEVEN, "accelerator": {"profile": "nvidia-l4"}, **spec}
    asked = {name: value for name, value in asked.items() if value is not None}
    assert any(message in warning for warning in plan(tmp_path, *options, **asked)["warnings"])


def test_old_prices_cause_a_warning(tmp_path: Path) -> None:
    asked = {"model": SEVEN, "accelerator": {"profile": "nvidia-l4"}}
    assert "outdated" in plan(tmp_path, **asked)["warnings"][-1]
    file = resource(tmp_path, **asked)
    fresh = json.loads(deepseek("plan", file, "-o", "json", "--as-of", "2026-08-04").out)
    assert "stale" not in fresh["cost"]["offers"][-1]["doubts"]


def test_an_invalid_date_is_rejected(tmp_path: Path) -> None:
    result = deepseek("plan", resource(tmp_path, model=SEVEN), "--as-of", "yesterday")
    assert (result.code, "write it as 2026-11-28" in result.err) == (2, True)


def test_a_file_with_two_resources_is_rejected(tmp_path: Path) -> None:
    file = resource(tmp_path, model=SEVEN)
    file.write_text(f"{file.read_text()}---\n{file.read_text()}")
    assert "contains several resources (r1, r1)" in deepseek("plan", file).err


@given(
    st.sampled_from([*NAMES, "deepseek-ai/DeepSeek-V1.5", "deepseek-ai/deepseek-moe-16b-chat"]),
    st.sampled_from([*sorted(accelerators().profiles), "nvidia-x1"]),
    st.none() | st.integers(1, 16),
    st.sampled_from(["transformers", "vllm", "sglang"]),
    st.none() | st.integers(16, 200_000),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_plan_refuses_exactly_what_the_operator_refuses(
    tmp_path: Path, name: str, kind: str, count: int | None, engine: str, context: int | None
) -> None:
    model = {"id": name, **({"maxContext": context} if context else {})}
    accelerator = {"profile": kind, **({"count": count} if count else {})}
    spec = {"model": model, "accelerator": accelerator, "engine": {"type": engine}}
    body = {"metadata": {"namespace": "default", "name": "r1", "uid": "u"}, "spec": spec}
    decision = decide(body, SETTINGS, EVERYTHING)
    result = run(tmp_path, **spec)
    if isinstance(decision, Refusal):
        assert result.code == 1
        assert json.loads(result.out) == {"accepted": False, **vars(decision)}
    else:
        assert result.code == 0, result.err


@given(
    st.sampled_from(NAMES), st.sampled_from(KINDS_OF_GPU), st.integers(1, 16), st.integers(1, 10**6)
)
@settings(max_examples=200, deadline=None)
def test_more_memory_never_makes_what_fits_unfit(
    name: str, kind: str, gpus: int, more: int
) -> None:
    model, profile = models().get(name), accelerators().profiles[kind]
    assert model is not None
    larger = profile.model_copy(update={"memory_mib": profile.memory_mib + more})
    dtype = compute_type("auto", model, profile)
    before, after = (Memory(model, each, gpus, dtype) for each in (profile, larger))
    needed = wanted(Spec.model_validate({"model": {"id": name}}), model)
    assert after.context >= before.context
    assert after.requests(needed) >= before.requests(needed)


@given(
    st.sampled_from(NAMES),
    st.sampled_from(KINDS_OF_GPU),
    st.none() | st.integers(1, 16),
    st.none() | st.integers(16, 200_000),
    st.integers(1, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_more_memory_never_refuses_a_plan_or_asks_for_more_gpus(
    name: str, kind: str, count: int | None, context: int | None, more: int
) -> None:
    model = {"id": name, **({"maxContext": context} if context else {})}
    accelerator = {"profile": kind, **({"count": count} if count else {})}
    before = decided(model, accelerator)
    profile = accelerators().profiles[kind]
    larger = profile.model_copy(update={"memory_mib": profile.memory_mib + more})
    with mock.patch.dict(accelerators().profiles, {kind: larger}):
        after = decided(model, accelerator)
    if isinstance(before, Refusal):
        return
    assert not isinstance(after, Refusal)
    assert before.gpus is not None
    assert after.gpus is not None
    assert after.gpus.count <= before.gpus.count
    if after.gpus.count == before.gpus.count:
        assert (after.sizing.context or 0) >= (before.sizing.context or 0)


@given(
    st.sampled_from(NAMES),
    st.integers(0, len(KNOWN.machines) - 1),
    st.floats(0.01, 1),
    st.integers(1, 40),
    st.floats(0.1, 500),
)
@settings(max_examples=60, deadline=None)
def test_a_cheaper_price_never_makes_a_plan_or_a_recommendation_dearer(
    name: str, which: int, cut: float, replicas: int, requests: float
) -> None:
    machine = KNOWN.machines[which]
    cheap = machine.model_copy(update={"per_hour": machine.per_hour * cut})
    machines = (*KNOWN.machines[:which], cheap, *KNOWN.machines[which + 1 :])
    known = (KNOWN, replace(KNOWN, machines=machines))
    desired = decided({"id": name}, {"profile": machine.profile}, replicas=replicas)
    if not isinstance(desired, Refusal):
        before_by, after_by = (
            cheapest(propose(desired, EVERYTHING, Load(0, 512, 128), each, TODAY).offers)
            for each in known
        )
        assert after_by.keys() == before_by.keys()
        assert all(after_by[terms] <= price for terms, price in before_by.items())
    requirements = Requirements(name, Load(requests, 512, 128))
    first, second = (chosen(options(requirements, each, TODAY)) for each in known)
    if first:
        assert second is not None
        assert second.per_month <= first.per_month * (1 + 1e-9)


def decided(
    model: dict[str, Any], accelerator: dict[str, Any], **spec: Any
) -> DesiredState | Refusal:
    metadata = {"namespace": "default", "name": "r1", "uid": "u"}
    spec |= {"model": model, "accelerator": accelerator}
    return decide({"metadata": metadata, "spec": spec}, SETTINGS, EVERYTHING)


def cheapest(offers: Iterable[Offer]) -> dict[str, float]:
    """Return the lowest hourly price by terms."""
    found: dict[str, float] = {}
    for offer in offers:
        found[offer.terms] = min(offer.per_hour, found.get(offer.terms, offer.per_hour))
    return found
