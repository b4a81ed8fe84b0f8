"""Triton's launcher is compiled where there is a compiler and found where there is none."""

import shutil
from pathlib import Path

import pytest
from triton import knobs
from triton.runtime import build

from deepseek_server.failures import PermanentError
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
    """What Triton does when the first of its kernels runs, but for loading it without a driver."""
    return build.compile_so_from_src("/* C */", "cuda_utils")


def test_it_is_found_where_there_is_no_compiler(folder, no_compiler):
    launcher.library(folder).parent.mkdir(parents=True)
    launcher.library(folder).write_text("compiled ahead")
    launcher.provide()
    assert Path(compiled()).read_text() == "compiled ahead"


def test_a_missing_one_is_named(folder, no_compiler):
    launcher.provide()
    with pytest.raises(PermanentError, match=f"Triton needs {launcher.library(folder)}"):
        compiled()


def test_other_libraries_need_a_compiler(folder, no_compiler):
    launcher.provide()
    with pytest.raises(PermanentError, match="Triton needs other, which is not there, or a C comp"):
        build.compile_so_from_src("/* C */", "other")


def test_an_installed_compiler_goes_first(folder, monkeypatch):
    monkeypatch.setattr(launcher.shutil, "which", lambda name: f"/usr/bin/{name}")
    launcher.provide()
    assert knobs.build.impl is None


@pytest.mark.skipif(not shutil.which("gcc"), reason="compiles with gcc, which is not installed")
def test_the_real_one_compiles(folder, tmp_path):
    launcher.compile_launcher(folder, toolkit.stub(tmp_path / "driver"))
    library = launcher.library(folder).read_bytes()
    assert library.startswith(b"\x7fELF")
    assert b"libcuda.so.1" in library
    assert b"PyInit_cuda_utils" in library


def test_a_failed_compilation_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(PermanentError, match=r"cannot be compiled .*install gcc and Python's head"):
        launcher.compile_launcher(folder, tmp_path)
