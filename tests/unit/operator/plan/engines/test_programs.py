"""Command lines of other engines, checked by the parsers of their releases."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.engine import EngineType
from deepseek_operator.catalog.engines import engines
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.engines.choice import programs
from deepseek_operator.plan.engines.program import Program, Serving
from deepseek_operator.plan.state.split import Split
from tests.unit.operator.plan.engines.command_lines import Parser

PARSERS: dict[EngineType, Parser] = {"vllm": Parser("vllm"), "sglang": Parser("sglang")}
ENGINES = sorted(PARSERS)
MODELS = sorted(models())


def size(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([2**power for power in range(most)])


@st.composite
def servings(draw: st.DrawFn) -> Serving:
    spread = {"tensor": draw(size(5)), "pipeline": draw(size(3)), "data": draw(size(4))}
    gpus = spread["tensor"] * spread["pipeline"] * spread["data"]
    pods = draw(st.sampled_from([number for number in (1, 2, 4) if gpus % number == 0]))
    model_id = draw(st.sampled_from(MODELS))
    on_volume = draw(st.booleans())
    return Serving(
        model_id=model_id,
        model="/models/a" if on_volume else model_id,
        served_name=draw(st.sampled_from(["r1", model_id])),
        revision=None if on_volume else "main",
        hub=draw(st.sampled_from(["", "http://hub.example"])),
        dtype=draw(st.sampled_from(["auto", "bfloat16", "float16", "float32"])),
        max_context=draw(st.none() | st.integers(16, 2**24)),
        asked_context=draw(st.booleans()),
        split=Split(**spread, expert=draw(st.booleans()), pods=pods),
        drain_seconds=draw(st.integers(0, 3600)),
        start_seconds=draw(st.integers(900, 86_400)),
    )


def leader(engine: EngineType, **fields: Any) -> Program:
    given = {"model_id": "a/b", "model": "a/b", "served_name": "b", "revision": "main", **fields}
    return programs(engine, Serving(**given)).leader


def parsed(engine: EngineType, **fields: Any) -> dict[str, str]:
    return PARSERS[engine].parse(leader(engine, **fields).args)


@pytest.mark.parametrize("engine", ENGINES)
@given(serving=servings())
def test_every_flag_exists_in_the_release(engine: EngineType, serving: Serving) -> None:
    made = programs(engine, serving)
    PARSERS[engine].parse(made.leader.args)
    assert (made.worker is None) == (serving.split.pods == 1)
    if made.worker is not None:
        PARSERS[engine].parse(made.worker.args)
        assert made.worker.probes is None


@pytest.mark.parametrize("engine", ENGINES)
def test_recorded_flags_are_of_the_catalogue_s_release(engine: EngineType) -> None:
    assert PARSERS[engine].release == engines()[engine].release
    assert engines()[engine].image.endswith(f":v{engines()[engine].release}")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_output_parser_exists_in_the_release(engine: EngineType) -> None:
    for model in MODELS:
        PARSERS[engine].parse(leader(engine, model_id=model).args)


@pytest.mark.parametrize(
    ("engine", "model", "reasoning", "tools"),
    [
        ("vllm", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "deepseek_r1", None),
        ("vllm", "deepseek-ai/DeepSeek-V3", None, None),
        ("vllm", "deepseek-ai/DeepSeek-V3.2-Exp", "deepseek_v3", "deepseek_v32"),
        ("sglang", "deepseek-ai/DeepSeek-R1-0528", "deepseek-r1", None),
        ("sglang", "deepseek-ai/DeepSeek-V3.1-Terminus", "deepseek-v3", None),
        ("sglang", "deepseek-ai/DeepSeek-V4-Pro", "deepseek-v4", "deepseekv4"),
        ("sglang", "deepseek-ai/DeepSeek-V4.1-Flash", None, None),
    ],
)
def test_output_parsers_by_model(
    engine: EngineType, model: str, reasoning: str | None, tools: str | None
) -> None:
    found = parsed(engine, model_id=model)
    assert found.get("--reasoning-parser") == reasoning
    assert found.get("--tool-call-parser") == tools


def test_vllm_gets_the_fields_of_the_spec() -> None:
    found = parsed("vllm", dtype="bfloat16", max_context=4096, asked_context=True, drain_seconds=30)
    assert found[""] == "a/b"
    assert found["--served-model-name"] == "b"
    assert found["--revision"] == "main"
    assert found["--dtype"] == "bfloat16"
    assert found["--max-model-len"] == "4096"
    assert found["--port"] == "8000"
    assert found["--shutdown-timeout"] == "30"


def test_vllm_sizes_its_own_context_without_max_context() -> None:
    assert parsed("vllm", max_context=4096)["--max-model-len"] == "auto"


def test_sglang_gets_the_fields_of_the_spec() -> None:
    found = parsed("sglang", max_context=4096)
    assert found["--model-path"] == "a/b"
    assert found["--context-length"] == "4096"
    assert "--enable-metrics" in found
    assert "--context-length" not in parsed("sglang")


@pytest.mark.parametrize("engine", ENGINES)
def test_user_arguments_and_variables_come_last(engine: EngineType) -> None:
    program = leader(engine, args=("--seed", "7"), env={"HOME": "/h", "X": "1"})
    assert program.args[-2:] == ("--seed", "7")
    assert (program.env["HOME"], program.env["X"]) == ("/h", "1")


@pytest.mark.parametrize("engine", ENGINES)
def test_caches_are_on_a_volume_and_the_user_has_a_name(engine: EngineType) -> None:
    env = leader(engine).env
    assert env["USER"]
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TRITON_CACHE_DIR"):
        assert env[name].startswith("/cache")


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_on_a_volume_are_offline_and_a_mirror_is_set(engine: EngineType) -> None:
    volume = leader(engine, model="/models/a", revision=None)
    assert "--revision" not in PARSERS[engine].parse(volume.args)
    assert volume.env["HF_HUB_OFFLINE"] == "1"
    assert leader(engine, hub="http://mirror").env["HF_ENDPOINT"] == "http://mirror"
    assert "HF_ENDPOINT" not in leader(engine).env


@pytest.mark.parametrize("engine", ENGINES)
@given(seconds=st.integers(900, 86_400))
def test_startup_probe_allows_the_whole_deadline(engine: EngineType, seconds: int) -> None:
    probes = leader(engine, start_seconds=seconds).probes
    assert probes is not None
    startup = probes.startup
    assert 0 <= startup.period * startup.failures - seconds < startup.period


@pytest.mark.parametrize("engine", ENGINES)
def test_only_single_pod_replicas_use_loopback(
    engine: EngineType,
) -> None:
    one = leader(engine, split=Split(tensor=8)).env
    two = leader(engine, split=Split(tensor=16, pods=2)).env
    assert one["NCCL_SOCKET_IFNAME"] == "=lo"
    assert "NCCL_SOCKET_IFNAME" not in two


def test_vllm_on_several_pods() -> None:
    serving = Serving("a/b", "a/b", "b", "main", split=Split(tensor=8, pipeline=2, pods=2))
    made = programs("vllm", serving)
    assert made.worker is not None
    first, other = (PARSERS["vllm"].parse(p.args) for p in (made.leader, made.worker))
    for found in (first, other):
        assert found["--nnodes"] == "2"
        assert found["--node-rank"] == "$(LWS_WORKER_INDEX)"
        assert found["--master-addr"] == "$(LWS_LEADER_ADDRESS)"
        assert (found["--tensor-parallel-size"], found["--pipeline-parallel-size"]) == ("8", "2")
    assert "--headless" in other
    assert "--headless" not in first
    assert "--port" not in other


def test_sglang_on_several_pods() -> None:
    serving = Serving("a/b", "a/b", "b", "main", split=Split(tensor=16, pods=2))
    made = programs("sglang", serving)
    assert made.worker is not None
    assert made.worker.args == made.leader.args
    found = PARSERS["sglang"].parse(made.leader.args)
    assert found["--nnodes"] == "2"
    assert found["--node-rank"] == "$(LWS_WORKER_INDEX)"
    assert found["--dist-init-addr"].startswith("$(LWS_LEADER_ADDRESS):")
    assert found["--tensor-parallel-size"] == "16"


def test_expert_parallelism_with_data_parallel_attention() -> None:
    spread = Split(tensor=2, data=8, expert=True, pods=2)
    found = parsed("vllm", split=spread)
    assert (found["--tensor-parallel-size"], found["--data-parallel-size"]) == ("2", "8")
    assert "--enable-expert-parallel" in found
    found = parsed("sglang", split=spread)
    assert (found["--tensor-parallel-size"], found["--data-parallel-size"]) == ("16", "8")
    assert found["--expert-parallel-size"] == "16"
    assert "--enable-dp-attention" in found


def test_data_parallel_copies_in_a_pod_with_sglang() -> None:
    found = parsed("sglang", split=Split(tensor=2, data=4))
    assert (found["--tensor-parallel-size"], found["--data-parallel-size"]) == ("2", "4")
    assert "--enable-dp-attention" not in found
