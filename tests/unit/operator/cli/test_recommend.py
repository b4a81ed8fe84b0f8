"""Comparison of `deepseek recommend`, and acceptance of the resources that it writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.advisor.options import options, resource
from deepseek_operator.advisor.provisioning import Requirements
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import prices
from deepseek_operator.cli.assumptions import KINDS
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from tests.support.operator.resources import SETTINGS
from tests.unit.operator.cli.command import deepseek
from tests.unit.operator.cli.golden import DAY

SEVEN = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
NAMES = [name for name in models() if models().get(name) is not None]
KNOWN = prices()


def recommended(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = deepseek("recommend", *arguments, "-o", "json", "--as-of", DAY)
    assert result.code == code, result.err
    data: dict[str, Any] = json.loads(result.out)
    return data


def ways(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["way"]: row for row in data["ways"]}


def test_the_cheapest_option_without_objections_is_chosen() -> None:
    data = recommended(SEVEN, "--requests", 5)
    free = [row for row in data["ways"] if not row["against"]]
    assert data["chosen"] == min(free, key=lambda row: row["perMonth"])["way"]
    own, cloud = {"one machine"}, {"on demand", "reserved", "spot mix", "spot alone"}
    assert set(ways(data)) >= own | cloud | {"scaled to zero"}


def test_replicas_serve_the_peak_at_80_percent() -> None:
    data = recommended(SEVEN, "--requests", 40, "--burst", 3)
    for row in data["kinds"]:
        assert row["replicasAtPeak"] * row["requestsPerSecond"] * 0.8 >= 119


def test_the_monthly_on_demand_cost_adds_up(tmp_path: Path) -> None:
    """Monthly cost is replicas times price times hours."""
    data = recommended(SEVEN, "--requests", 1, "--burst", 1, "--hours", 8)
    on_demand, at_night = ways(data)["on demand"], ways(data)["scaled to zero"]
    assert at_night["perMonth"] == pytest.approx(on_demand["perMonth"] / 3, rel=0.01)
    tokens = 128 * 3600 * 730 * 8 / 24 / 1e6
    assert on_demand["perMillionOutputTokens"] == pytest.approx(
        on_demand["perMonth"] / tokens, rel=0.01
    )


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (["--data", "on-premises"], {"one machine", "own cluster"}),
        (["--data", "cloud"], {"on demand", "reserved", "spot mix", "hosted API"}),
        (
            ["--data", "hybrid"],
            {"one machine", "own cluster", "on demand", "reserved", "spot mix"},
        ),
    ],
)
def test_data_excludes_options(options: list[str], allowed: set[str]) -> None:
    data = recommended("DeepSeek-V4-Pro", *options, code=0 if "cloud" in options else 1)
    assert {row["way"] for row in data["ways"] if not row["against"]} <= allowed
    data = recommended("DeepSeek-R1", "--requests", 5, *options)
    assert data["chosen"] in allowed


def test_a_too_low_budget_is_reported_per_option() -> None:
    result = deepseek("recommend", SEVEN, "--budget", 10, "--as-of", DAY)
    assert result.code == 1
    assert "on demand: above the budget of 10." in result.err


def test_spot_alone_requires_interruptible() -> None:
    asked = (SEVEN, "--requests", 5, "--hours", 8, "--burst", 1)
    careful, careless = recommended(*asked), recommended(*asked, "--interruptible")
    assert ways(careful)["spot alone"]["against"] == "all machines may be reclaimed at once"
    assert careless["chosen"] == "spot alone"


def test_latency_costs_more() -> None:
    loose, tight = (
        recommended(SEVEN, "--requests", 50),
        recommended(SEVEN, "--requests", 50, "--itl", 10),
    )
    assert ways(tight)["on demand"]["perMonth"] > ways(loose)["on demand"]["perMonth"]
    assert all(row["itlSeconds"] <= 0.01 for row in tight["kinds"])


def test_an_unreachable_latency_is_reported() -> None:
    result = deepseek("recommend", SEVEN, "--itl", 0.2)
    assert result.code == 1
    assert "Raise --ttft or --itl" in result.err


def test_a_prompt_longer_than_the_context_is_rejected() -> None:
    result = deepseek("recommend", "deepseek-llm-7b-chat", "--input", 5000)
    assert result.code == 1


def test_a_discontinued_hosted_api_is_not_chosen() -> None:
    data = recommended("DeepSeek-R1", "--requests", 0.01)
    assert ways(data)["hosted API"]["against"] == "not sold any more"
    assert data["chosen"] != "hosted API"


def test_the_break_even_point_of_a_hosted_api(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    service = {"provider": "acme", "models": ["DeepSeek-R1-Distill-Qwen-7B"], "cached": 0}
    service |= {"input": 0.2, "output": 0.2, "asOf": "2026-11-01", "source": "an offer"}
    file.write_text(yaml.safe_dump({"hosted": [service]}))
    data = recommended(SEVEN, "--requests", 1, "--prices", file)
    turn = data["breakEven"]["hostedUpToRequestsPerSecond"]["on demand"]
    each = ways(data)["hosted API"]["perMonth"] / 1
    assert turn == pytest.approx(ways(data)["on demand"]["perMonth"] / each, rel=0.01)
    below = recommended(SEVEN, "--requests", 0.01, "--prices", file)
    assert below["chosen"] == "hosted API"
    assert below["resource"] is None


def test_the_break_even_point_of_own_machines() -> None:
    data = recommended("DeepSeek-R1", "--requests", 5)
    hours = data["breakEven"]["ownBeforeOnDemandFromHoursPerDay"]
    own, rent = (
        min(row["perMonth"] for name, row in ways(data).items() if name in names)
        for names in (("one machine", "own cluster"), ("on demand",))
    )
    assert hours == pytest.approx(24 * own / rent, rel=0.01)
    dear = recommended("DeepSeek-R1", "--requests", 5, "--people", 1_000_000)
    assert dear["breakEven"]["ownBeforeOnDemandFromHoursPerDay"] is None


def test_write_does_not_overwrite_a_file(tmp_path: Path) -> None:
    file = tmp_path / "r1.yaml"
    arguments = ("recommend", SEVEN, "--requests", 60, "--choose", "on demand", "--write", file)
    assert deepseek(*arguments).code == 0
    spec = yaml.safe_load(file.read_text())["spec"]
    assert spec["scaling"]["minReplicas"] < spec["scaling"]["maxReplicas"]
    assert deepseek("plan", file).code == 0
    again = deepseek(*arguments)
    assert (again.code, "already exists and was not changed" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DeepSeek-V1.5"], "Did you mean deepseek-ai/DeepSeek-V2.5"),
        (["deepseek-ai/DeepSeek-V1.5"], "DeepSeek has not published"),
        ([SEVEN, "--choose", "cloud"], "Available options: "),
        ([SEVEN, "--data", "moon"], "moon"),
    ],
)
def test_an_invalid_argument_is_rejected_with_a_correction(
    arguments: list[str], message: str
) -> None:
    result = deepseek("recommend", *arguments)
    assert result.code == 2
    assert message in result.err


def test_the_text_output_has_the_load_and_the_resource() -> None:
    out = deepseek("recommend", SEVEN, "--requests", 5, "--hours", 10, "--as-of", DAY).out
    assert "180,000 per day" in out
    assert "kind: DeepSeekDeployment" in out


@given(
    st.sampled_from(NAMES),
    st.floats(0.01, 3000),
    st.floats(1, 10),
    st.integers(1, 20_000),
    st.integers(1, 2000),
    st.none() | st.floats(0.001, 0.2),
)
@settings(max_examples=60, deadline=None)
def test_the_operator_accepts_every_proposed_resource(
    name: str, requests: float, burst: float, prompt: int, answer: int, itl: float | None
) -> None:
    requirements = Requirements(name, Load(requests, prompt, answer, burst), itl=itl)
    for option in options(requirements, KNOWN, KNOWN.machines[0].as_of):
        if option.shape is None or option.against:
            continue
        body = resource(option, requirements, "r1")
        metadata = {"namespace": "default", "name": "r1", "uid": "u"}
        decision = decide(
            {**body, "metadata": metadata}, SETTINGS, Observed(served=frozenset(KINDS))
        )
        assert isinstance(decision, DesiredState), decision
        assert decision.gpus is not None
        assert decision.gpus.profile in accelerators().profiles
        memory = decision.sizing.memory
        assert memory is not None
        assert memory.context >= prompt + answer


@given(st.sampled_from(NAMES), st.floats(0.01, 500), st.floats(0.1, 1))
@settings(max_examples=40, deadline=None)
def test_a_lower_price_never_raises_the_cost_of_an_option(
    name: str, requests: float, cut: float
) -> None:
    cheaper = KNOWN.__class__(
        **{
            **vars(KNOWN),
            "machines": tuple(
                machine.model_copy(update={"per_hour": machine.per_hour * cut})
                for machine in KNOWN.machines
            ),
        }
    )
    requirements, day = Requirements(name, Load(requests, 512, 128)), KNOWN.machines[0].as_of
    before, after = (
        {option.way: option.per_month for option in options(requirements, known, day)}
        for known in (KNOWN, cheaper)
    )
    assert before.keys() == after.keys()
    assert all(after[way] <= before[way] + 1e-6 for way in before)
