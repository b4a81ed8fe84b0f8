"""The packed copy of FlashInfer can be imported and contains kernels but no sources."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_server.kernels.__main__ import main

NAMES = ("flashinfer", "flashinfer.mla", "flashinfer.norm", "flashinfer.rope")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """Create a folder of packages with an importable FlashInfer."""
    site = tmp_path / "site"
    for name, content in {
        "flashinfer/__init__.py": "from flashinfer import used",
        "flashinfer/used.py": "",
        "flashinfer/unused.py": "",
        **{f"{name.replace('.', '/')}.py": "" for name in NAMES[1:]},
        "flashinfer/data/aot/norm/norm.so": "code",
        "flashinfer/data/aot/compiled.json": "{}",
        "flashinfer/data/csrc/batch_prefill.cu": "template",
        "flashinfer/data/csrc/norm.cu": "source",
        "flashinfer/data/cutlass/include/cutlass.h": "source",
        "tvm_ffi/__init__.py": "",
        "tvm_ffi/lib/libtvm_ffi.so": "code",
        "bin/ninja": "program",
    }.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in [name for name in sys.modules if name.partition(".")[0] == "flashinfer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "flashinfer"]:
        del sys.modules[name]


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_keeps_kernels_and_templates_without_sources(site, tmp_path):
    target = tmp_path / "gpu"
    assert main(["pack", str(target)]) == 0
    packed = {name for name in contents(target) if not name.endswith(".pyc")}
    assert contents(site) - packed - {n for n in contents(site) if n.endswith(".pyc")} == {
        "bin/ninja",
        "flashinfer/data/csrc/norm.cu",
        "flashinfer/data/cutlass/include/cutlass.h",
    }


def test_only_imported_modules_have_bytecode(site, tmp_path):
    target = tmp_path / "gpu"
    main(["pack", str(target)])
    bytecode = {Path(name).name for name in contents(target) if name.endswith(".pyc")}
    tag = sys.implementation.cache_tag
    assert f"used.{tag}.pyc" in bytecode
    assert f"unused.{tag}.pyc" not in bytecode
    # Independent of the dates of files.
    (target / "flashinfer/used.py").write_text("raise SystemExit('read again')")
    subprocess.run(
        [sys.executable, "-c", "import flashinfer"], check=True, env={"PYTHONPATH": str(target)}
    )


def test_refuses_a_folder_that_is_not_empty(site, tmp_path):
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu/file").touch()
    assert main(["pack", str(tmp_path / "gpu")]) == 3
    assert contents(tmp_path / "gpu") == {"file"}
