"""Triton's launcher is compiled ahead of time and found on machines without a compiler."""

import shutil
import sys
from pathlib import Path

import pytest
from triton import knobs
from triton.runtime import build

from deepseek_server.errors import PermanentError
from deepseek_server.kernels import launcher, toolkit


@pytest.fixture
def folder(tmp_path, flashinfer, monkeypatch) -> Path:
    monkeypatch.setattr(knobs.build, "impl", None)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    return flashinfer.aot


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)


def compiled() -> str:
    """Do what Triton does for its first kernel, without loading the launcher."""
    return build.compile_so_from_src("/* C */", "cuda_utils")


@pytest.fixture
def compiled_ahead(folder) -> None:
    launcher.library(folder).parent.mkdir(parents=True)
    launcher.library(folder).write_text("compiled ahead")


def test_the_launcher_is_found_without_a_compiler(compiled_ahead, no_compiler):
    assert launcher.provide()
    assert Path(compiled()).read_text() == "compiled ahead"


def test_a_missing_launcher_is_named(folder, no_compiler, caplog):
    assert not launcher.provide()
    assert f"there is neither {launcher.library(folder)} nor a C compiler" in caplog.text


def test_neither_flashinfer_nor_a_compiler(no_compiler, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "flashinfer", None)
    assert not launcher.provide()
    assert "build the image with CUDA_ARCHS" in caplog.text


def test_other_libraries_need_a_compiler(compiled_ahead, no_compiler):
    launcher.provide()
    with pytest.raises(PermanentError, match="Triton needs a C compiler for other"):
        build.compile_so_from_src("/* C */", "other")


def test_an_installed_compiler_is_preferred(compiled_ahead, monkeypatch):
    monkeypatch.setattr(launcher.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert launcher.provide()
    assert knobs.build.impl is None


@pytest.mark.skipif(not shutil.which("gcc"), reason="compiles with gcc, which is not installed")
def test_the_real_launcher_compiles(folder, tmp_path):
    launcher.compile_launcher(folder, toolkit.stub(tmp_path / "driver"))
    library = launcher.library(folder).read_bytes()
    assert library.startswith(b"\x7fELF")
    assert b"libcuda.so.1" in library
    assert b"PyInit_cuda_utils" in library


def test_a_failed_compilation_names_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(PermanentError, match=r"cannot be compiled .*install gcc and Python's head"):
        launcher.compile_launcher(folder, tmp_path)
