"""`python -m deepseek_server.kernels`: compiled kernels, their location, and errors."""

import json
import sys
from pathlib import Path

import pytest

from deepseek_server.kernels import aot as ahead
from deepseek_server.kernels import build, launcher, toolkit
from deepseek_server.kernels.__main__ import main


def one_kernel(archs, dtypes, out: Path) -> int:
    """Pretend to compile one kernel; all take half a minute, test_ahead.py compiles some."""
    path = ahead.folder(out) / "key/kernel.cubin"
    path.parent.mkdir(parents=True)
    path.touch()
    return 1


def fake_launcher(out: Path, drivers: Path) -> None:
    path = launcher.library(out)
    path.parent.mkdir(parents=True)
    path.touch()


@pytest.fixture(autouse=True)
def environment(monkeypatch, cuda_home):
    """Undo the variables of a build; set torch's CUDA version to that of the compiler."""
    for name in (
        "FLASHINFER_CUDA_ARCH_LIST",
        "FLASHINFER_DISABLE_JIT",
        "FLASHINFER_EXTRA_LDFLAGS",
        "FLASHINFER_WORKSPACE_BASE",
        "MAX_JOBS",
        "TRITON_CACHE_DIR",
    ):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(toolkit, "stub", lambda folder: folder)
    monkeypatch.setattr(build, "compile_launcher", fake_launcher)
    monkeypatch.setattr(build, "compile_ahead", one_kernel)
    monkeypatch.setattr(build.torch.version, "cuda", "13.2")


@pytest.fixture
def run(tmp_path, caplog):
    caplog.set_level("INFO")

    def run(*arguments: str) -> tuple[int, str]:
        caplog.clear()
        if arguments[0] == "build":
            arguments += ("--workspace", str(tmp_path / "work"))
        return main(arguments), caplog.text

    return run


def libraries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*.so") if path.parent.name != "triton"]


def test_check_finds_built_kernels(flashinfer, run, cuda_home, tmp_path):
    code, said = run("build", "--archs", "9.0,8.0")
    assert (code, "compiling 9 libraries of FlashInfer 0.7.2 for 8.0 9.0a" in said) == (0, True)
    environment = flashinfer.built[0]
    assert environment["FLASHINFER_CUDA_ARCH_LIST"] == "8.0 9.0a"
    assert environment["CUDA_HOME"] == str(cuda_home)
    assert environment["FLASHINFER_WORKSPACE_BASE"] == str(tmp_path / "work")
    assert int(environment["MAX_JOBS"]) >= 1
    assert "FLASHINFER_DISABLE_JIT" not in environment
    assert len(libraries(flashinfer.aot)) == 9

    code, said = run("check")
    assert code == 0
    assert "9 kernels for 8.0 9.0a, nothing to compile" in said


def test_builds_into_a_chosen_folder(flashinfer, run, tmp_path):
    assert run("build", "--archs", "8.0", "--out", str(tmp_path / "out"))[0] == 0
    assert len(libraries(tmp_path / "out")) == 7
    assert json.loads((tmp_path / "out/compiled.json").read_text()) == {
        "archs": ["8.0"],
        "dtypes": ["bfloat16"],
        "flashinfer": "0.7.2",
        "cuda": "13.2",
    }


def test_builds_for_chosen_types(flashinfer, run):
    run("build", "--archs", "8.0", "--dtypes", "bfloat16", "float16")
    names = [path.name for path in libraries(flashinfer.aot)]
    assert len(names) == 10
    assert sum("float16" in name and "bfloat16" not in name for name in names) == 3


def test_shows_the_last_lines_of_a_compiler_error(flashinfer, run):
    flashinfer.failure = "\n".join(
        ["Ninja build failed.", *["noise"] * 90, "norm.cu: no such type"]
    )
    code, said = run("build", "--archs", "8.0")
    assert code == 3
    assert "a kernel failed to compile" in said
    assert "norm.cu: no such type" in said
    assert said.count("noise") < 90
    assert not flashinfer.aot.exists()


def test_refuses_a_compiler_of_another_cuda_version_than_torch(flashinfer, run, monkeypatch):
    monkeypatch.setattr(build.torch.version, "cuda", "12.8")
    code, said = run("build", "--archs", "8.0")
    assert code == 3
    assert "nvcc has CUDA version 13.2, but torch uses the libraries of CUDA 12.8" in said
    assert not flashinfer.built


def test_refuses_an_unknown_architecture(flashinfer, run):
    assert run("build", "--archs", "h100")[0] == 3


def test_check_names_a_missing_library(flashinfer, run):
    run("build", "--archs", "8.0")
    next(flashinfer.aot.glob("mla_*/*.so")).unlink()
    code, said = run("check")
    assert code == 3
    assert "lacks latent fa2 512 64 bfloat16: run the command build again" in said


def test_check_names_a_missing_launcher(flashinfer, run):
    run("build", "--archs", "8.0")
    launcher.library(flashinfer.aot).unlink()
    assert "lacks Triton's launcher: run" in run("check")[1]


def test_check_fails_without_compiled_kernels(flashinfer, run):
    code, said = run("check")
    assert (code, "contains no compiled kernels" in said) == (3, True)


def test_check_refuses_kernels_of_another_flashinfer_version(flashinfer, run, monkeypatch):
    run("build", "--archs", "8.0")
    monkeypatch.setattr(sys.modules["flashinfer"], "__version__", "0.7.3")
    code, said = run("check")
    assert code == 3
    assert "are of FlashInfer 0.7.2, but version 0.7.3 is installed" in said


@pytest.mark.parametrize("command", [["build", "--archs", "8.0"], ["check"]])
def test_flashinfer_is_not_installed(run, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "flashinfer", None)
    code, said = run(*command)
    assert (code, "FlashInfer cannot be imported" in said) == (3, True)


def test_parallel_jobs_fit_into_the_available_memory(flashinfer, run, monkeypatch):
    monkeypatch.setattr(build, "cpus", lambda: 64)
    monkeypatch.setattr(build, "memory_available", lambda: 9 * 2**30)
    run("build", "--archs", "8.0")
    assert flashinfer.built[0]["MAX_JOBS"] == "2"
    assert Path(flashinfer.built[0]["CUDA_HOME"]).is_dir()
