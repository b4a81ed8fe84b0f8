"""An image is rebuilt exactly when one of its inputs has changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from hack.cluster.images import sources
from hack.cluster.images.sources import MODEL_SERVER, OPERATOR, ImageSource, content_key

DOCKERFILE = (
    "FROM base AS dependencies\nRUN install\n\nFROM python AS app\nCOPY a b\n\n"
    "FROM ${DEPENDENCIES} AS kernels\nRUN compile\n\nFROM ${DEPENDENCIES}\nCOPY c d\n"
)
LOCK = (
    "aa==1 \\\n    --hash=sha256:1\nuv==5 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\nzz==1\n"
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    folder = tmp_path / "operator"
    (folder / "package/deep").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "requirements.lock").write_text("aa==1\n")
    (folder / "package/main.py").write_text("1\n")
    (folder / "package/deep/template.yaml").write_text("a: 1\n")
    (folder / "package/kernels").mkdir()
    (folder / "package/kernels/needed.py").write_text("1\n")
    (folder / "gpu.lock").write_text("bb==1\n")
    (tmp_path / "tools.lock").write_text(LOCK)
    monkeypatch.setattr(sources, "TOOLS_LOCK", tmp_path / "tools.lock")
    return ImageSource("image", folder, "package")


def keys(source):
    return source.dependencies_key("base"), source.key("base")


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_dates_bytecode_and_other_tools_are_ignored(source):
    before = keys(source)
    (source.folder / "package/main.py").touch()
    (source.folder / "package/__pycache__").mkdir()
    (source.folder / "package/__pycache__/main.cpython-311.pyc").write_bytes(b"x")
    edit(sources.TOOLS_LOCK, "zz==1", "zz==2")
    edit(sources.TOOLS_LOCK, "sha256:1", "sha256:9")
    assert keys(source) == before


@pytest.mark.parametrize("name", ["package/main.py", "package/deep/template.yaml"])
def test_code_changes_the_image_and_not_its_dependencies(source, name):
    dependencies, image = keys(source)
    edit(source.folder / name, "1", "2")
    assert keys(source)[0] == dependencies
    assert keys(source)[1] != image


def test_a_renamed_file_is_a_change(source):
    dependencies, image = keys(source)
    (source.folder / "package/main.py").rename(source.folder / "package/other.py")
    assert keys(source) == (dependencies, keys(source)[1])
    assert keys(source)[1] != image


def test_the_last_stages_of_the_dockerfile_do_not_change_dependencies(source):
    dependencies, image = keys(source)
    edit(source.dockerfile, "COPY a b", "COPY a c")
    assert keys(source)[0] == dependencies
    assert keys(source)[1] != image


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("operator/Dockerfile", "RUN install", "RUN install it"),
        ("operator/requirements.lock", "aa==1", "aa==2"),
        ("tools.lock", "uv==5", "uv==6"),
        ("tools.lock", "sha256:3", "sha256:4"),
    ],
)
def test_inputs_of_dependencies(source, path, old, new):
    before = keys(source)
    edit(source.folder.parent / path, old, new)
    after = keys(source)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_base_changes_both(source):
    assert source.dependencies_key("base") != source.dependencies_key("other")
    assert source.key("base") != source.key("other")


def test_contents_are_separated(tmp_path):
    assert content_key(["ab", "c"], [], tmp_path) != content_key(["a", "bc"], [], tmp_path)


@pytest.fixture
def gpus(source):
    return replace(source, cuda_archs="8.0,9.0a")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("package/kernels/needed.py", "1", "2"),
        ("gpu.lock", "bb==1", "bb==2"),
        ("requirements.lock", "aa==1", "aa==2"),
        ("Dockerfile", "RUN compile", "RUN compile it"),
    ],
)
def test_inputs_of_kernels(gpus, name, old, new):
    kernels, image = gpus.kernels_key("base"), gpus.key("base")
    edit(gpus.folder / name, old, new)
    assert gpus.kernels_key("base") != kernels
    assert gpus.key("base") != image


@pytest.mark.parametrize(
    ("name", "old", "new"), [("package/main.py", "1", "2"), ("Dockerfile", "COPY c d", "COPY c e")]
)
def test_other_changes_do_not_rebuild_kernels(gpus, name, old, new):
    kernels, image = gpus.kernels_key("base"), gpus.key("base")
    edit(gpus.folder / name, old, new)
    assert gpus.kernels_key("base") == kernels
    assert gpus.key("base") != image


def test_kernels_for_other_gpus_make_another_image(source, gpus):
    others = replace(gpus, cuda_archs="9.0a")
    assert others.kernels_key("base") != gpus.kernels_key("base")
    assert len({one.key("base") for one in (source, gpus, others)}) == 3
    assert others.dependencies_key("base") == source.dependencies_key("base")


def test_the_stage_for_kernels_copies_the_code_of_its_key():
    stage = MODEL_SERVER.dockerfile.read_text().partition(sources.KERNELS_STAGE)[2]
    stage = stage.partition("\nFROM ")[0]
    for pattern in sources.KERNELS_CODE:
        assert f"model_server/deepseek_server/{pattern.partition('/')[0]}" in stage


@pytest.mark.parametrize("real", [OPERATOR, MODEL_SERVER])
def test_real_dockerfiles_have_the_stages_that_the_builder_names(real):
    text = real.dockerfile.read_text()
    assert sources.APP_STAGE in text
    assert "FROM python AS dependencies" in text.partition(sources.APP_STAGE)[0]
    assert text.count("\nFROM ${DEPENDENCIES}\n") == 1
