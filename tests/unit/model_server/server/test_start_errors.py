"""Errors of a start: one sentence that states what is wrong, where, and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepseek_server.errors import PermanentError, StartError, TransientError, report
from deepseek_server.models.loading import loading
from deepseek_server.server import main as process
from deepseek_server.server.lifecycle import Progress
from deepseek_server.server.startup import start
from tests.support.model_server.serving import ThreadWorker, directory_config


@pytest.fixture
def directory(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a model for a test to break."""
    return Path(shutil.copytree(tiny("llama"), tmp_path / "model"))


def sentence(directory: Path, **model: object) -> str:
    with pytest.raises(PermanentError) as failure:
        start(directory_config(directory, **model), Progress(), ThreadWorker)
    text = str(failure.value)
    assert "\n" not in text
    return text


def edit_config(directory: Path, **fields: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_missing_directory(tmp_path: Path) -> None:
    assert sentence(tmp_path / "no") == (
        f"the model directory {tmp_path / 'no'} does not exist: check the path and the volume "
        "that it is mounted from"
    )


def test_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    assert "is a file: set it to the directory" in sentence(tmp_path / "weights")


def test_no_config_json(tmp_path: Path) -> None:
    assert "has no config.json, so it is not a model" in sentence(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "config.json is not JSON"),
        ("[1]", "is not a model's configuration"),
        ("{}", "is not a model's configuration (it has no model_type)"),
        ('{"model_type": "bert"}', "architecture 'bert', which this server does not support"),
        ('{"model_type": "llama"}', "has no max_position_embeddings"),
    ],
)
def test_a_config_json_that_is_no_model(directory: Path, text: str, words: str) -> None:
    (directory / "config.json").write_text(text)
    message = sentence(directory)
    assert words in message
    assert str(directory / "config.json") in message


def test_no_weights(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    message = sentence(directory)
    assert "has no weights in safetensors format (it has pytorch_model.bin)" in message


def test_a_missing_shard(directory: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks 1 of 2 weight files, the first is model-2.safetensors" in sentence(directory)


def test_weights_cut_short(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is truncated" in sentence(directory)


def test_weights_that_are_something_else(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "is not a safetensors file" in sentence(directory)


def test_no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in sentence(directory)


def test_a_broken_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")
    assert "cannot be loaded" in sentence(directory)


def test_weights_of_another_shape(directory: Path) -> None:
    edit_config(directory, intermediate_size=100)
    message = sentence(directory)
    assert "check that config.json and the weights belong to the same model" in message


def test_fewer_weights_than_layers(directory: Path) -> None:
    edit_config(directory, num_hidden_layers=4)
    assert "lack 9 tensors that config.json requires" in sentence(directory)


def test_more_context_than_the_model_has(directory: Path) -> None:
    message = sentence(directory, maxContext=5000)
    assert "maxContext 5000 exceeds the context length of model, 4096 tokens" in message


def test_not_enough_memory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "memory_available", lambda: 1024 * 1024)
    message = sentence(directory)
    assert "need 2.6 MiB of memory as float32, but only 1.0 MiB are free here" in message
    assert "set dtype to bfloat16 (which needs 1.3 MiB)" in message


@pytest.mark.parametrize(
    ("packing", "words"),
    [
        ({"quant_method": "awq", "bits": 4}, "quant_method 'awq', weight_block_size None"),
        (
            {"quant_method": "fp8", "weight_block_size": [64, 64]},
            "weight_block_size [64, 64] in config.json",
        ),
    ],
)
def test_weights_that_are_quantised_in_another_way(
    directory: Path, packing: dict, words: str
) -> None:
    edit_config(directory, quantization_config=packing)
    message = sentence(directory)
    assert "have a quantisation that this server does not support" in message
    assert words in message
    assert "in fp8 with blocks of 128 x 128, or an unquantised copy" in message


def test_no_gpu(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.torch.cuda, "is_available", lambda: False)
    config = directory_config(directory).model_copy(update={"device": "cuda"})
    with pytest.raises(PermanentError, match="no usable NVIDIA GPU"):
        start(config, Progress())


@pytest.mark.parametrize(("kind", "code"), [(PermanentError, 3), (TransientError, 4)])
def test_the_error_is_written_as_the_termination_message(
    kind: type[StartError], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "termination-log"
    monkeypatch.setenv("TERMINATION_LOG", str(log))
    assert report(kind("what, where, what to do")) == code
    assert log.read_text() == "what, where, what to do"
    report(kind("x" * 5000))
    assert len(log.read_text()) == 4096


def test_a_failure_to_write_the_termination_message_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERMINATION_LOG", "/proc/nowhere/log")
    assert report(PermanentError("it")) == 3


def test_the_process_exits_with_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "log"))
    assert process.serve(directory_config(tmp_path / "no")) == 3
    assert "does not exist" in (tmp_path / "log").read_text()
    assert "Traceback" not in caplog.text


def test_a_port_that_is_taken(server) -> None:
    config = directory_config(Path("/no"))
    taken = config.listen.model_copy(update={"port": int(server.url.rpartition(":")[2])})
    with pytest.raises(PermanentError, match="Address already in use"):
        process.serve(config.model_copy(update={"listen": taken}))
