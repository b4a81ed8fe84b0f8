"""The one thing that operator and model server share: the config file, written here and read there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.rolling import group_failures as gangs
from deepseek_operator.plan.sizing.parallelism import GROUPS
from deepseek_operator.plan.state.observed import Observed, PodView
from deepseek_operator.render.children import children
from deepseek_server.config import validate
from deepseek_server.distributed.start_holds import held
from tests.support.operator.resources import R1, SETTINGS, resource

MODELS: list[dict[str, Any]] = [
    {"id": R1},
    {"id": R1, "servedName": "r1", "revision": "v2", "maxContext": 4096, "dtype": "bfloat16"},
    {"id": R1, "source": {"huggingFace": {"endpoint": "http://mirror"}}},
    {"id": "tiny", "source": {"hostPath": {"path": "/data"}}},
    {"id": "tiny", "source": {"pvc": {"claimName": "models", "path": "v3"}}},
]


ACCELERATORS: list[dict[str, Any]] = [
    {},
    {"accelerator": {"count": 2}},
    {"accelerator": {"profile": "nvidia-h200", "count": 8}},
    {"accelerator": {"profiles": ["amd-mi300x", "nvidia-b200"], "count": 8}},
    {"parallelism": {"tensor": 4}},
    {
        "accelerator": {"count": 16},
        "parallelism": {
            "tensor": 16,
            "preflight": {"policy": "warn", "minGigabytesPerSecond": 2.5},
        },
    },
]


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("model", MODELS)
def test_the_server_reads_what_the_operator_writes(
    model: dict[str, Any], accelerator: dict[str, Any]
) -> None:
    observed = Observed(served=frozenset({GROUPS}))
    decision = decide(resource(model=model, **accelerator), SETTINGS, observed)
    assert isinstance(decision, DesiredState)
    (config_map,) = (item for item in children(decision) if item["kind"] == "ConfigMap")
    written = json.loads(config_map["data"]["config.json"])
    read = validate(written, "config.json")
    understood = read.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    assert understood == _without_none(written)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return value


def test_the_server_honours_the_holds_that_the_operator_writes() -> None:
    failed = PodView(
        "r1-gang-1-1",
        exited=(1, "Error", "out of memory"),
        group=1,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        ended=datetime(2026, 1, 1, 1, tzinfo=UTC),
    )
    known = gangs.groups([], [failed], 1, 2, max_restarts=0)
    written = json.dumps(gangs.holds(known, 1))
    assert "out of memory" in held(written, "1", datetime.now(UTC))
    assert not held(written, "0", datetime.now(UTC))
