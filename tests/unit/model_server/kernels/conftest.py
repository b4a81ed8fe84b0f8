"""A fake FlashInfer without compilation: specs with names, and empty files as libraries."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

VERSION = "0.7.2"


@dataclass
class FlashInfer:
    """State of the fake FlashInfer.

    Attributes:
        aot: Directory of compiled libraries.
        built: The environment of each compilation.
        failure: Output of the compiler if it has to fail.
    """

    aot: Path
    jit: Path
    built: list[dict[str, str]] = field(default_factory=list)
    failure: str = ""

    def compile(self, specs: Sequence["Spec"], *, skip_prebuilt: bool) -> None:
        assert not skip_prebuilt
        if self.failure:
            raise RuntimeError(self.failure)
        self.built.append(dict(os.environ))
        for spec in specs:
            spec.jit_library_path.parent.mkdir(parents=True, exist_ok=True)
            spec.jit_library_path.write_bytes(b"machine code")


@dataclass
class Spec:
    name: str
    flashinfer: FlashInfer

    @property
    def aot_path(self) -> Path:
        return self.flashinfer.aot / self.name / f"{self.name}.so"

    @property
    def jit_library_path(self) -> Path:
        return self.flashinfer.jit / self.name / f"{self.name}.so"

    @property
    def is_aot(self) -> bool:
        return self.aot_path.exists()


@pytest.fixture
def flashinfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlashInfer:
    fake = FlashInfer(tmp_path / "aot", tmp_path / "jit")

    def generator(prefix: str) -> object:
        def generate(*arguments: object) -> Spec:
            words = [str(word).removeprefix("torch.") for word in (prefix, *arguments)]
            return Spec("_".join(words), fake)

        return generate

    modules = {
        "flashinfer": {"__version__": VERSION},
        "flashinfer.jit": {
            "gen_act_and_mul_module": generator("act_and_mul"),
            "gen_batch_mla_module": generator("mla"),
            "gen_batch_decode_module": generator("decode"),
            "gen_batch_prefill_module": generator("prefill"),
        },
        "flashinfer.jit.attention": {},
        "flashinfer.jit.attention.modules": {
            "_gen_batch_prefill_primary_module": generator("prefill_primary")
        },
        "flashinfer.jit.core": {"build_jit_specs": fake.compile},
        "flashinfer.jit.env": {"FLASHINFER_AOT_DIR": fake.aot},
        "flashinfer.jit.norm": {"gen_norm_module": generator("norm")},
        "flashinfer.jit.rope": {"gen_rope_module": generator("rope")},
        "flashinfer.jit.sampling": {"gen_sampling_module": generator("sampling")},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    return fake


@pytest.fixture
def cuda_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a fake CUDA toolkit that only prints its version, in CUDA_HOME."""
    root = tmp_path / "cuda"
    program(root / "bin/nvcc", 'echo "Cuda compilation tools, release 13.2, V13.2.86"')
    monkeypatch.setenv("CUDA_HOME", str(root))
    return root


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
