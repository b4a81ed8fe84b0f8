"""Wheels with parts of CUDA become a toolkit that compiles and links."""

from pathlib import Path

import pytest

from deepseek_server.errors import PermanentError
from deepseek_server.kernels import toolkit
from tests.unit.model_server.kernels.conftest import program


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a fake c++ that writes its arguments into its output file."""
    path = tmp_path / "path/c++"
    program(path, 'echo "$@" > "$3"')
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    compiler, runtime = tmp_path / "one/cu13", tmp_path / "two/cu13"
    program(compiler / "bin/nvcc", 'echo "release 13.2, V13.2.86"')
    for path in (
        compiler / "nvvm/bin/cicc",
        compiler / "include/crt/host_config.h",
        runtime / "include/crt/other.h",
        runtime / "include/cuda_runtime.h",
        runtime / "lib/libcudart.so.13",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return [compiler, runtime]


def test_parts_of_several_packages_become_one_tree(compiler, parts, tmp_path):
    root = toolkit.assemble(parts, tmp_path / "root")
    for name in (
        "nvvm/bin/cicc",
        "include/crt/host_config.h",
        "include/crt/other.h",
        "include/cuda_runtime.h",
    ):
        assert (root / name).read_text() == Path(name).name
    assert toolkit.version(root) == "13.2"


def test_a_linker_finds_the_libraries_by_their_plain_names(compiler, parts, tmp_path):
    root = toolkit.assemble(parts, tmp_path / "root")
    assert (root / "lib64/libcudart.so").read_text() == "libcudart.so.13"
    assert "-soname,libcuda.so.1" in (root / "lib64/stubs/libcuda.so").read_text()
    assert "-soname,libcuda.so.1" in (root / "lib64/stubs/libcuda.so.1").read_text()


def test_a_toolkit_can_be_assembled_again(compiler, parts, tmp_path):
    toolkit.assemble(parts, tmp_path / "root")
    (parts[1] / "include/cuda_runtime.h").unlink()
    root = toolkit.assemble(parts, tmp_path / "root")
    assert not (root / "include/cuda_runtime.h").exists()


def test_refuses_wheels_without_a_compiler(compiler, parts, tmp_path):
    with pytest.raises(PermanentError, match=r"nvcc is not installed: pip install .*\[kernels\]"):
        toolkit.assemble(parts[1:], tmp_path / "root")


def test_no_linker(compiler, parts, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PermanentError, match="install g\\+\\+"):
        toolkit.assemble(parts, tmp_path / "root")


def test_an_installed_toolkit_is_found(tmp_path):
    program(tmp_path / "cuda/bin/nvcc", "")
    assert toolkit.find({"CUDA_HOME": str(tmp_path / "cuda")}) == tmp_path / "cuda"
    assert toolkit.find({"PATH": str(tmp_path / "cuda/bin")}) == tmp_path / "cuda"
    assert toolkit.find({"CUDA_HOME": str(tmp_path)}) is None


@pytest.mark.parametrize("script", ["exit 1", "echo nothing"])
def test_a_broken_compiler_is_named(tmp_path, script):
    program(tmp_path / "bin/nvcc", script)
    with pytest.raises(PermanentError, match="bin/nvcc"):
        toolkit.version(tmp_path)
