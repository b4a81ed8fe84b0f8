"""Downloads with the hub's client from a fake hub."""

import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepseek_server.config import ModelConfig
from deepseek_server.errors import PermanentError, TransientError
from deepseek_server.models.loading import source
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.server.lifecycle import Progress
from hack.models.hub import HubServer, Repository, serving

REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
TOKEN = "hf_test"
Disk = namedtuple("Disk", "total used free")


@pytest.fixture(scope="module")
def hub(tiny: Callable[[str], Path]) -> Iterator[HubServer]:
    repositories = {
        REPO: Repository(tiny("qwen2")),
        "deepseek-ai/gated": Repository(tiny("llama"), token=TOKEN),
    }
    with serving(repositories) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path


def locate(repo: str, endpoint: str, progress: Progress | None = None, **fields: str) -> Path:
    config = ModelConfig.model_validate(
        {"id": repo, "source": {"huggingFace": {"endpoint": endpoint}}, **fields}
    )
    return source.locate(config, progress or Progress())


def test_a_download_is_the_model_with_its_bytes_counted(hub: HubServer, tiny, tmp_path) -> None:
    progress = Progress()
    directory = locate(REPO, hub.endpoint, progress)
    assert tmp_path in directory.parents
    assert inspect(directory).config["model_type"] == "qwen2"
    original = {file.name: file.read_bytes() for file in tiny("qwen2").iterdir()}
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == original
    size = sum(map(len, original.values()))
    assert progress.bytes == (size, size)
    assert "100 %" in str(progress)


def test_only_files_that_the_server_reads(tiny, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "README.md"):
        (repository / name).write_text("{}")
    with serving({"a/b": Repository(repository)}) as hub:
        names = {file.name for file in locate("a/b", hub.endpoint).iterdir()}
    assert names == {"config.json", "model.safetensors"}


def test_what_is_cached_needs_no_hub(tiny) -> None:
    with serving({REPO: Repository(tiny("qwen2"))}) as hub:
        first = locate(REPO, hub.endpoint)
    assert locate(REPO, hub.endpoint) == first


def test_an_unknown_repository_and_what_may_be_meant(hub: HubServer) -> None:
    with pytest.raises(PermanentError) as failure:
        locate("deepseek-ai/DeepSeek-V1.5", hub.endpoint)
    text = str(failure.value)
    assert f"there is no model repository deepseek-ai/DeepSeek-V1.5 on {hub.endpoint}" in text
    assert "check the spelling" in text


@pytest.mark.parametrize("name", ["x/quite-different", "no slash at all//"])
def test_a_name_like_no_other(hub: HubServer, name: str) -> None:
    with pytest.raises(PermanentError, match="check the spelling"):
        locate(name, hub.endpoint)


def test_an_unknown_revision(hub: HubServer) -> None:
    with pytest.raises(PermanentError, match="has no revision v9"):
        locate(REPO, hub.endpoint, revision="v9")


def test_a_gated_repository(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentError, match=r"gated repository .* token is missing"):
        locate("deepseek-ai/gated", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(PermanentError, match="token does not grant access"):
        locate("deepseek-ai/gated", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (locate("deepseek-ai/gated", hub.endpoint) / "config.json").is_file()


def test_a_hub_that_cannot_be_reached_may_work_later() -> None:
    with pytest.raises(
        TransientError, match=r"could not be downloaded from http://127\.0\.0\.1:1 "
    ):
        locate(REPO, "http://127.0.0.1:1")


def test_a_cache_that_cannot_be_written(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(blocked / "cache"))
    with pytest.raises(PermanentError, match=r"cannot be stored .*HF_HOME"):
        locate(REPO, hub.endpoint)


def test_files_that_are_there_already_are_not_counted_again(tiny, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(tiny("qwen2"), repository)
    with serving({REPO: Repository(repository)}) as hub:
        locate(REPO, hub.endpoint)
    # Another commit, of which all but one file is known.
    (repository / "generation_config.json").write_text("{}")
    progress = Progress()
    with serving({REPO: Repository(repository)}) as hub:
        directory = locate(REPO, hub.endpoint, progress)
    assert (directory / "config.json").is_file()
    assert progress.bytes == (2, 2)


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_a_disk_without_room_is_found_out_before_the_download(
    hub: HubServer, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(file.stat().st_size for file in tiny("qwen2").iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10 * size, 9 * size, size - 1))
    with pytest.raises(PermanentError, match=r"need .* MiB, but .* has only .* MiB free: mount"):
        locate(REPO, hub.endpoint)
    assert not list(tmp_path.rglob("*.safetensors"))
    # A file system that reports nothing may have room.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(0, 0, 0))
    assert (locate(REPO, hub.endpoint) / "config.json").is_file()
