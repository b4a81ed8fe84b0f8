"""Block-scaled fp8 weights: their values, and models that keep them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Experts

from benchmarks.server.steps.one_rank import OneRankAlone
from deepseek_server.distributed.process_group import ALONE, Group
from deepseek_server.errors import PermanentError
from deepseek_server.models.layers import fp8, fp8_modules
from deepseek_server.models.layers.fp8_modules import Fp8Experts, Fp8Linear
from deepseek_server.models.loading import loading, weights
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.server.lifecycle import Progress
from hack.models.families import configuration
from hack.models.packing import pack
from hack.models.tiny import fill, make_tokenizer
from tests.support.model_server.serving import directory_config
from tests.support.repository import ROOT
from tests.unit.model_server.models.stepping import generated, runner_of, scattered, step


def loaded(directory: Path, group: Group = ALONE, dtype: str = "float32") -> PreTrainedModel:
    config = directory_config(directory, dtype=dtype).model
    return loading.load(inspect(directory), config, "cpu", Progress(), group).model


@pytest.fixture
def packed(tiny, tmp_path: Path) -> Callable[..., tuple[Path, PreTrainedModel]]:
    """Return a packed copy of a tiny model, and the equivalent float32 model."""

    def make(family: str = "deepseek-v3", *, powers: bool = False) -> tuple[Path, PreTrainedModel]:
        return _pack(Path(shutil.copytree(tiny(family), tmp_path / "packed")), powers=powers)

    return make


@pytest.fixture
def wide(tmp_path: Path) -> tuple[Path, PreTrainedModel]:
    """Return the same for a model with matrices of whole blocks, and some others."""
    return _wide(tmp_path, "deepseek-v3")


def _wide(tmp_path: Path, family: str, **fields: object) -> tuple[Path, PreTrainedModel]:
    tiny = configuration(family)
    config = type(tiny).from_dict(
        tiny.to_dict()
        | {
            "hidden_size": 256,
            "moe_intermediate_size": 256,
            "intermediate_size": 512,
            "q_lora_rank": 128,
            "v_head_dim": 64,
            "num_hidden_layers": 2,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
        }
        | fields
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fill(model, "wide")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "wide")
    make_tokenizer().save_pretrained(tmp_path / "wide")
    return _pack(tmp_path / "wide")


def _pack(directory: Path, *, powers: bool = False) -> tuple[Path, PreTrainedModel]:
    plain = Path(shutil.copytree(directory, directory.with_name("plain")))
    meant = pack(directory, powers=powers)
    whole = {
        name: tensor.float() for name, tensor in load_file(plain / "model.safetensors").items()
    }
    assert len(meant) > 10
    save_file(whole | meant, plain / "model.safetensors", metadata={"format": "pt"})
    return directory, AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(4, 60)[None]).logits


@pytest.mark.parametrize("powers", [False, True])
@pytest.mark.parametrize("chunk", [weights.CHUNK_BYTES, 3000])
def test_on_a_cpu_the_model_has_the_dequantised_weights(
    chunk: int, powers: bool, packed, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(weights, "CHUNK_BYTES", chunk)
    directory, expected = packed(powers=powers)
    model = loaded(directory)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert torch.equal(logits(model), logits(expected))
    assert "fp8 weights of packed are converted to float32: this device has no" in caplog.text


@pytest.mark.parametrize("family", ["qwen3", "deepseek-v32"])
def test_every_family_can_be_packed(family: str, packed) -> None:
    directory, expected = packed(family)
    assert torch.equal(logits(loaded(directory)), logits(expected))


def test_a_model_that_keeps_fp8_weights_gives_similar_logits(
    wide, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    caplog.set_level("INFO")
    directory, expected = wide
    monkeypatch.setattr(fp8_modules, "native", lambda device: True)
    model = loaded(directory)
    layer = model.model.layers[1]
    assert isinstance(layer.mlp.experts, Fp8Experts)
    for module in (layer.self_attn.o_proj, layer.self_attn.kv_a_proj_with_mqa):
        assert isinstance(module, Fp8Linear)
        assert module.weight.dtype == torch.float8_e4m3fn
    assert isinstance(layer.self_attn.kv_b_proj, torch.nn.Linear), "it is taken apart"
    assert "modules of wide keep their fp8 weights" in caplog.text
    found, wanted = logits(model).flatten(0, 1), logits(expected).flatten(0, 1)
    # A token with nearly equal expert scores may get other experts.
    assert torch.cosine_similarity(found, wanted).median() > 0.98
    # The same weights, apart from the rounding of activations.
    state = model.state_dict()
    o_proj = state["model.layers.1.self_attn.o_proj.weight"]
    scale = state["model.layers.1.self_attn.o_proj.weight_scale_inv"]
    assert torch.equal(
        fp8.dequantise(o_proj, scale),
        expected.state_dict()["model.layers.1.self_attn.o_proj.weight"],
    )
    up = expected.state_dict()["model.layers.1.mlp.experts.gate_up_proj"][3]
    experts = layer.mlp.experts
    assert torch.equal(
        fp8.dequantise(experts.gate_up_proj[3], experts.gate_up_proj_scale_inv[3]), up
    )


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("deepseek-v3", {}),
        # The lists of layers are those of fewer layers.
        ("deepseek-v32", {"index_head_dim": 32, "mlp_layer_types": None, "layer_types": None}),
    ],
)
def test_an_fp8_model_runs_on_the_paged_cache(
    family: str, fields: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fp8_modules, "native", lambda device: True)
    model = loaded(_wide(tmp_path, family, **fields)[0])
    if family == "deepseek-v32":
        indexer = model.model.layers[1].self_attn.indexer
        assert isinstance(indexer.wq_b, Fp8Linear)
        assert isinstance(indexer.wk, Fp8Linear)
        assert isinstance(indexer.weights_proj, torch.nn.Linear)
    prompt = list(range(10, 40))
    expected = generated(model, prompt, 8)
    runner = runner_of(model)
    (sequence,) = scattered(runner, [prompt], 8)
    while len(sequence.answer) < 8:
        step(runner, [(sequence, sequence.chunk(7))])
    assert sequence.answer == expected


def test_two_processes_keep_whole_blocks(wide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp8_modules, "native", lambda device: True)
    whole = loaded(wide[0]).state_dict()
    first, second = (loaded(wide[0], OneRankAlone(rank, 2)).state_dict() for rank in (0, 1))
    for name, axis in {
        "model.layers.1.self_attn.o_proj.weight": 1,
        "model.layers.1.self_attn.o_proj.weight_scale_inv": 1,
        "model.layers.0.mlp.up_proj.weight_scale_inv": 0,
        "model.layers.1.mlp.experts.down_proj": 2,
        "model.layers.1.mlp.experts.down_proj_scale_inv": 2,
    }.items():
        both = torch.cat((first[name].float(), second[name].float()), axis)
        assert torch.equal(both, whole[name].float()), name
    for name in ("gate_up_proj", "gate_up_proj_scale_inv"):
        name = f"model.layers.1.mlp.experts.{name}"
        halves = [part.float().chunk(2, 1) for part in (first[name], second[name])]
        both = torch.cat([half for pair in zip(*halves, strict=True) for half in pair], 1)
        assert torch.equal(both, whole[name].float()), name
    # 96 rows per process are not whole blocks: these two are cast.
    assert first["model.layers.1.self_attn.q_b_proj.weight"].dtype == torch.float32
    assert "model.layers.1.self_attn.q_b_proj.weight_scale_inv" not in first


NAME = "model.layers.1.mlp.experts.2.up_proj.weight_scale_inv"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(NAME), f"lack 1 tensors .* the first is {NAME}"),
        (
            lambda tensors: tensors.update({NAME: torch.ones(2, 1)}),
            rf"{NAME} in /.* has the shape \[2, 1\], but config.json requires \[1, 1\]",
        ),
    ],
)
def test_mismatching_scales_are_refused(change, words: str, packed) -> None:
    directory, _ = packed()
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PermanentError, match=words):
        loaded(directory)


@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans(), st.floats(-12, 12))
def test_quantisation_error_is_at_most_a_sixteenth_of_a_value(
    seed: int, groups: int, powers: bool, magnitude: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(3, groups * fp8.BLOCK, generator=draw) * 10**magnitude
    values[1, : fp8.BLOCK] = 0
    numbers, scale = fp8.quantise(values, powers)
    assert (numbers.shape, scale.shape) == (values.shape, (3, groups))
    if powers:
        assert torch.equal(scale, torch.exp2(scale.log2().round()))
    back = numbers.float() * scale.repeat_interleave(fp8.BLOCK, 1)
    # Three mantissa bits; values below the smallest normal number, 2^-6, have a larger error.
    least = scale.repeat_interleave(fp8.BLOCK, 1) * 2**-10
    assert ((back - values).abs() <= torch.maximum(values.abs() / 16, least) * 1.001).all()


def test_a_layer_is_the_sum_over_blocks() -> None:
    """Compare with float64 arithmetic for a matrix that ends within a block of rows."""
    draw = torch.Generator().manual_seed(1)
    rows, columns, tokens = 200, 384, 5
    layer = Fp8Linear(rows, columns, powers=False).to_empty(device="cpu")
    layer.weight.data = torch.randn(rows, columns, generator=draw).to(fp8.FP8)
    layer.weight_scale_inv.data = torch.rand(2, 3, generator=draw)
    inputs = torch.randn(1, tokens, columns, generator=draw)
    expected = torch.zeros(tokens, rows, dtype=torch.float64)
    for block in range(3):
        part = slice(block * 128, (block + 1) * 128)
        values = inputs[0, :, part].double()
        factor = values.abs().amax(1, keepdim=True) / 448
        eight = (values / factor).float().to(fp8.FP8).double() * factor
        for row in range(rows):
            weight = layer.weight[row, part].double() * layer.weight_scale_inv[row // 128, block]
            expected[:, row] += eight @ weight
    found = layer(inputs)
    assert found.shape == (1, tokens, rows)
    torch.testing.assert_close(found[0].double(), expected, atol=1e-3, rtol=1e-4)


def test_experts_are_gated_matrices_that_are_weighted() -> None:
    draw = torch.Generator().manual_seed(2)
    config = configuration("deepseek-v3")
    config.hidden_size, config.moe_intermediate_size = 256, 128
    with torch.device("meta"):
        plain = DeepseekV3Experts(config)
    experts = Fp8Experts(plain, powers=False).to_empty(device="cpu")
    for name in ("gate_up_proj", "down_proj"):
        weight, scale = getattr(experts, name), getattr(experts, f"{name}_scale_inv")
        weight.data = torch.randn(weight.shape, generator=draw).to(fp8.FP8)
        scale.data = torch.rand(scale.shape, generator=draw) / 16
    hidden = torch.randn(9, 256, generator=draw)
    chosen = torch.rand(9, 8, generator=draw).argsort(1)[:, :3]
    weights = torch.rand(9, 3, generator=draw)

    def linear(inputs: torch.Tensor, name: str, expert: int) -> torch.Tensor:
        numbers, factors = fp8.quantise(inputs[None])
        inputs = numbers.float() * factors.repeat_interleave(128, 1)
        stack, scale = getattr(experts, name), getattr(experts, f"{name}_scale_inv")
        return (inputs @ fp8.dequantise(stack[expert], scale[expert]).T)[0]

    for token in range(9):
        expected = torch.zeros(256)
        for expert, weight in zip(chosen[token].tolist(), weights[token], strict=True):
            inner = linear(hidden[token], "gate_up_proj", expert)
            gated = torch.nn.functional.silu(inner[:128]) * inner[128:]
            expected += weight * linear(gated, "down_proj", expert)
        found = experts(hidden, chosen, weights)[token]
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize(
    ("program", "checked"),
    [
        ("fp8_interpreted", ["quantise", "experts"]),
        ("router_interpreted", ["v3", "one group", "all groups"]),
    ],
)
def test_the_kernels_compute_the_same(program: str, checked: list[str]) -> None:
    """Run in Triton's interpreter on the CPU; hack/gpu/fp8.py tests cuBLAS."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.unit.model_server.models.layers.{program}"],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == checked
