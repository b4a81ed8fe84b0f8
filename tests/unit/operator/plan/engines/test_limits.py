"""Limits of engines, and engine arguments that are reserved."""

from typing import Any

import pytest

from deepseek_operator.api.engine import EngineType
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.engines import engines
from deepseek_operator.catalog.shape import ATTENTION
from deepseek_operator.plan.desired import validation as checks
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.engines.limits import beyond, reserved
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.split import Split
from tests.support.operator.resources import R1, SETTINGS, resource
from tests.unit.operator.plan.engines.command_lines import Parser

H200 = {"profile": "nvidia-h200", "count": 8}
TYPES: list[EngineType] = ["vllm", "sglang"]


def decided(**spec: Any) -> DesiredState | Refusal:
    return decide(resource(**spec), SETTINGS, Observed())


def refused(**spec: Any) -> Refusal:
    decision = decided(**spec)
    assert isinstance(decision, Refusal)
    return decision


@pytest.mark.parametrize("engine", TYPES)
def test_other_engines_need_an_nvidia_gpu(engine: EngineType) -> None:
    found = refused(engine={"type": engine})
    assert found.reason == checks.ENGINE_UNSUPPORTED
    assert "set accelerator" in found.message
    found = refused(engine={"type": engine}, accelerator={"profile": "amd-mi300x"})
    assert found.reason == checks.ENGINE_UNSUPPORTED
    assert "set engine.image" in found.message
    own = {"type": engine, "image": "rocm/own:1"}
    decision = decided(engine=own, accelerator={"profile": "amd-mi300x", "count": 8})
    assert not isinstance(decision, Refusal) or decision.reason != checks.ENGINE_UNSUPPORTED


def test_unsupported_data_type_is_refused() -> None:
    found = refused(model={"id": R1, "dtype": "float32"}, engine={"type": "vllm"}, accelerator=H200)
    assert found.reason == checks.ENGINE_UNSUPPORTED
    assert "set model.dtype to bfloat16 or float16" in found.message


def test_gpu_without_kernels_for_the_model_is_refused() -> None:
    model, a100 = {"id": "deepseek-ai/DeepSeek-V3.2"}, {"profile": "nvidia-a100-80gb"}
    parallelism = {"tensor": 16}
    found = refused(model=model, engine={"type": "vllm"}, accelerator=a100, parallelism=parallelism)
    assert found.reason == checks.ENGINE_UNSUPPORTED
    assert "no kernels for deepseek-ai/DeepSeek-V3.2 on nvidia-a100-80gb" in found.message
    own = {"type": "vllm", "image": "own/vllm:1"}
    decision = decided(model=model, engine=own, accelerator=a100, parallelism=parallelism)
    assert not isinstance(decision, Refusal) or decision.reason != checks.ENGINE_UNSUPPORTED


@pytest.mark.parametrize("engine", TYPES)
def test_models_of_known_size_are_served(engine: EngineType) -> None:
    assert set(engines()[engine].serves) >= set(ATTENTION)
    decision = decided(engine={"type": engine}, accelerator=H200)
    assert isinstance(decision, DesiredState)
    assert decision.image == engines()[engine].image
    assert decision.programs.leader.command


@pytest.mark.parametrize("engine", TYPES)
def test_fit_of_v32_is_known_and_of_v4_is_not(engine: EngineType) -> None:
    def on(model: str) -> DesiredState:
        decision = decided(
            model={"id": f"deepseek-ai/{model}"}, engine={"type": engine}, accelerator=H200
        )
        assert isinstance(decision, DesiredState)
        return decision

    assert on("DeepSeek-V3.2").sizing.memory is not None
    assert (
        f"memory layout of deepseek-ai/DeepSeek-V4-Pro in {engines()[engine].title}"
        in on("DeepSeek-V4-Pro").sizing.note
    )
    bundled = decided(model={"id": "deepseek-ai/DeepSeek-V4-Pro"}, accelerator=H200)
    assert isinstance(bundled, Refusal)


def test_bundled_server_uses_as_many_gpus_for_v32_as_for_v31() -> None:
    def count(model: str) -> int:
        decision = decided(model={"id": f"deepseek-ai/{model}"}, accelerator=H200)
        assert isinstance(decision, DesiredState)
        assert decision.gpus is not None
        return decision.gpus.count

    assert count("DeepSeek-V3.2") == count("DeepSeek-V3.1") == 8


def test_fp8_stays_packed_if_the_engine_supports_it() -> None:
    b200 = {"profile": "nvidia-b200"}
    counts = {}
    for engine in ("transformers", "vllm"):
        decision = decided(engine={"type": engine}, accelerator=b200)
        assert isinstance(decision, DesiredState)
        assert decision.gpus is not None
        counts[engine] = decision.gpus.count
    assert counts == {"transformers": 8, "vllm": 4}


@pytest.mark.parametrize(
    ("engine", "args", "flag", "instead"),
    [
        ("vllm", ["--port", "9000"], "--port", "port 8000"),
        ("vllm", ["--tensor-parallel-size=2"], "--tensor-parallel-size", "accelerator.count"),
        ("vllm", ["--tensor_parallel_size", "2"], "--tensor-parallel-size", "accelerator.count"),
        ("vllm", ["--tensor-par", "2"], "--tensor-par", "accelerator.count"),
        ("vllm", ["-tp=2"], "-tp", "accelerator.count"),
        ("vllm", ["-tp2"], "-tp", "accelerator.count"),
        ("vllm", ["--seed", "1", "--max-model-len", "9"], "--max-model-len", "model.maxContext"),
        ("sglang", ["--tp", "2"], "--tp", "accelerator.count"),
        ("sglang", ["--model", "x"], "--model", "spec.model.id"),
        ("sglang", ["--dist-init-addr", "x:1"], "--dist-init-addr", "spec.parallelism"),
        ("transformers", ["--dtype", "float16"], "--dtype", "spec.model.dtype"),
    ],
)
def test_arguments_of_other_fields_are_refused(
    engine: str, args: list[str], flag: str, instead: str
) -> None:
    found = refused(engine={"type": engine, "args": args}, accelerator=H200)
    assert found.reason == checks.ENGINE_ARGS_CONFLICT
    assert f"must not set {flag}." in found.message
    assert instead in found.message


@pytest.mark.parametrize(
    ("engine", "args"),
    [
        ("vllm", ["--max-num-seqs", "64", "--enable-prefix-caching", "-O3"]),
        ("vllm", ["--override-generation-config", '{"--port": 1}']),
        ("sglang", ["--mem-fraction-static=0.8", "--trust-remote-code", "--", "-"]),
        ("transformers", ["--attention", "sdpa"]),
    ],
)
def test_other_arguments_are_accepted(engine: str, args: list[str]) -> None:
    spec = Spec.model_validate(resource(engine={"type": engine, "args": args})["spec"])
    assert reserved(spec) is None


@pytest.mark.parametrize("engine", TYPES)
def test_reserved_flags_exist_and_are_no_prefix_conflicts(engine: EngineType) -> None:
    names = Parser(engine).names
    taken = {flag for entry in engines()[engine].reserved for flag in entry.flags}
    assert taken <= names
    free = {name for name in names - taken if name.startswith("--")}
    assert not [name for name in free if any(flag.startswith(name) for flag in taken)]


def test_unsupported_parallelism_names_engines_that_have_it() -> None:
    def of(engine: str, **asked: Any) -> str | None:
        spec = Spec.model_validate(resource(engine={"type": engine})["spec"])
        return beyond(spec, Split(**asked))

    assert of("transformers", tensor=8) is None
    assert of("vllm", tensor=8, pipeline=2, expert=True, data=2) is None
    found = of("transformers", pipeline=2)
    assert found is not None
    assert "has no pipeline parallelism" in found
    assert "engine.type to vllm or sglang" in found
