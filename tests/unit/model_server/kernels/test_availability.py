"""A start uses FlashInfer if its kernels exist; otherwise it names the missing file."""

import sys

import pytest
import torch

from deepseek_server.attention import backend as choice
from deepseek_server.attention import requirements as suitable
from deepseek_server.attention.backend import choose
from deepseek_server.attention.base import GroupedHeads, LatentHeads
from deepseek_server.attention.flashinfer import FlashInferAttention
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.errors import PermanentError
from deepseek_server.kernels import availability as ready
from deepseek_server.kernels import toolkit
from deepseek_server.kernels.archs import parse_archs
from deepseek_server.kernels.required import SAMPLING, all_kernels
from deepseek_server.kernels.specs import Compiled, spec_of, write_record

CUDA = torch.device("cuda")
LLAMA = GroupedHeads(heads=32, kv_heads=8, dim=128, scale=1.0)
V3 = LatentHeads(heads=128, kv_lora_rank=512, qk_rope_head_dim=64, scale=1.0)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    monkeypatch.setattr(toolkit, "find", lambda: None)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that the GPU has a compute capability."""

    def gpu(*capability: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    gpu(9, 0)
    return gpu


@pytest.fixture
def compiled(flashinfer):
    """Pretend that all kernels were compiled for given GPU architectures."""

    def compiled(archs: str) -> None:
        parsed = parse_archs(archs)
        for kernel in all_kernels(parsed, ["bfloat16"]):
            path = spec_of(kernel).aot_path
            path.parent.mkdir(parents=True)
            path.touch()
        write_record(flashinfer.aot, Compiled(parsed, ("bfloat16",), "0.7.2", "13.2"))

    return compiled


def chosen(heads=LLAMA, dtype=torch.bfloat16, wanted="auto"):
    return choose(wanted, heads, dtype, CUDA)


@pytest.mark.parametrize("heads", [LLAMA, V3])
@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0)])
def test_uses_flashinfer_if_its_kernels_exist(compiled, gpu, heads, capability):
    compiled("8.0,9.0a,10.0a")
    gpu(*capability)
    assert chosen(heads) is FlashInferAttention


def test_uses_torch_and_names_the_missing_file(flashinfer, compiled, gpu, caplog):
    compiled("9.0a")
    missing = next(flashinfer.aot.glob("mla_*/*.so"))
    missing.unlink()
    assert chosen(V3) is SdpaAttention
    assert f"{missing} is missing: build the image with CUDA_ARCHS=9.0a" in caplog.text
    assert chosen(LLAMA) is FlashInferAttention


def test_an_image_without_kernels(flashinfer, gpu, caplog):
    gpu(8, 6)
    assert chosen() is SdpaAttention
    assert "build the image with CUDA_ARCHS=8.6" in caplog.text


def test_kernels_for_other_gpus_are_not_used(compiled, gpu, caplog):
    compiled("9.0a")
    gpu(8, 0)
    assert chosen() is SdpaAttention
    assert "are for GPU architectures 9.0a: build the image with CUDA_ARCHS=8.0" in caplog.text


def test_kernels_for_other_types_are_not_used(compiled, gpu):
    compiled("9.0a")
    assert chosen(dtype=torch.float16) is SdpaAttention


def test_an_explicit_flashinfer_setting_fails_with_the_missing_file(flashinfer, gpu):
    with pytest.raises(PermanentError, match=r"\.so is missing: build the image with CUDA_ARCHS"):
        chosen(wanted="flashinfer")


def test_a_broken_flashinfer(gpu, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "flashinfer", None)
    assert chosen() is SdpaAttention
    assert "flashinfer-python cannot be imported" in caplog.text


@pytest.mark.parametrize(
    ("heads", "dtype", "reason"),
    [
        (LLAMA, torch.float32, "computes in float16 or bfloat16, not float32"),
        (GroupedHeads(8, 8, 96, 1.0), torch.bfloat16, "no kernel for heads of 96 values"),
        (LatentHeads(128, 256, 64, 1.0), torch.bfloat16, "no kernel for latents of 256 + 64"),
        (LatentHeads(24, 512, 64, 1.0), torch.bfloat16, "no kernel for 24 heads over a latent"),
    ],
)
def test_models_that_flashinfer_cannot_compute(compiled, gpu, heads, dtype, reason):
    compiled("9.0a")
    assert reason in suitable.unsuitable(heads, dtype, CUDA)


def test_older_gpus(compiled, gpu):
    compiled("8.0")
    gpu(7, 5)
    assert "Ampere" in suitable.unsuitable(LLAMA, torch.float16, CUDA)


class TestWithACompiler:
    @pytest.fixture(autouse=True)
    def compiler(self, monkeypatch, tmp_path):
        monkeypatch.setattr(toolkit, "find", lambda: tmp_path)
        monkeypatch.setattr(ready.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.delenv("FLASHINFER_DISABLE_JIT", raising=False)

    def test_missing_kernels_are_compiled_on_first_use_with_a_warning(
        self, flashinfer, gpu, caplog
    ):
        assert chosen() is FlashInferAttention
        assert "6 of FlashInfer's kernels are not in" in caplog.text
        assert "compiled on first use" in caplog.text

    def test_not_compiled_if_disabled(self, flashinfer, gpu, monkeypatch):
        monkeypatch.setenv("FLASHINFER_DISABLE_JIT", "1")
        assert chosen() is SdpaAttention

    def test_not_compiled_if_the_library_is_for_another_gpu(self, compiled, gpu):
        compiled("9.0a")
        gpu(8, 0)
        assert chosen() is SdpaAttention

    def test_not_compiled_if_a_tool_is_missing(self, flashinfer, gpu, monkeypatch):
        monkeypatch.setattr(ready.shutil, "which", {"c++": "/usr/bin/c++"}.get)
        assert chosen() is SdpaAttention


def test_a_cpu_needs_no_kernels(monkeypatch):
    monkeypatch.setattr(suitable, "lacking", None)
    assert choice.choose("auto", LLAMA, torch.float32, torch.device("cpu")) is SdpaAttention


def test_filters_of_probabilities_need_one_library(flashinfer, compiled):
    compiled("8.0")
    next(flashinfer.aot.glob("mla_*/*.so")).unlink()
    assert ready.lacking({SAMPLING}, (8, 0)) == ""
    next(flashinfer.aot.glob("sampling/*.so")).unlink()
    assert "sampling.so is missing" in ready.lacking({SAMPLING}, (8, 0))
