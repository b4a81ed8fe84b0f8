"""Tests of an installation's catalogue entries: merged over the built-in ones, or rejected."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.controller.main import StartError, read_catalogue
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from tests.support.operator.resources import SETTINGS, resource

CONFIG = {
    "model_type": "llama",
    "max_position_embeddings": 8192,
    "vocab_size": 128_256,
    "hidden_size": 8192,
    "intermediate_size": 28_672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
GB200 = {
    "memoryMiB": 189_471,
    "together": 4,
    "capability": "10.0",
    "labels": {"nvidia.com/gpu.product": ["NVIDIA-GB200"]},
}


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Return a function that adds a catalogue file; the additions are reset after the test."""
    monkeypatch.setattr(entries, "_own", entries.Own())

    def read(content: Any) -> None:
        models.cache_clear()
        accelerators.cache_clear()
        path = tmp_path / "catalog.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        read_catalogue(path)

    yield read
    models.cache_clear()
    accelerators.cache_clear()


def test_an_added_model_and_an_added_gpu_are_used(add: Callable[[Any], None]) -> None:
    add({"models": {"acme/r1-70b": {"config": CONFIG}}, "accelerators": {"nvidia-gb200": GB200}})
    body = resource(model={"id": "acme/r1-70b"}, accelerator={"profile": "nvidia-gb200"})
    decision = decide(body, SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    assert str(decision.gpus) == "1 x nvidia-gb200"
    assert not decision.sizing.note
    assert decision.gpus is not None
    assert decision.gpus.nodes == GB200["labels"]
    assert models().knows("deepseek-ai/DeepSeek-R1")
    assert "nvidia-h200" in accelerators().profiles


def test_a_built_in_entry_can_be_replaced(add: Callable[[Any], None]) -> None:
    labels = {"example.com/gpu": ["h200"]}
    add({"accelerators": {"nvidia-h200": {"memoryMiB": 143_771, "labels": labels}}})
    assert accelerators().profiles["nvidia-h200"].labels == labels


def test_an_added_extended_resource_is_read_from_nodes(add: Callable[[Any], None]) -> None:
    add({"accelerators": {"acme-npu": {**GB200, "resource": "acme.com/npu"}}})
    assert "acme.com/npu" in accelerators().resources


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is not YAML"),
        ({"gpus": {}}, "gpus: Extra inputs are not permitted"),
        ({"accelerators": {"x": {"labels": {"a": ["b"]}}}}, "accelerators.x: memoryMiB: Field"),
        ({"accelerators": {"x": {**GB200, "memoryGB": 1}}}, "accelerators.x: memoryGB: Extra"),
        ({"accelerators": {"x": {**GB200, "labels": {}}}}, "accelerators.x: labels:"),
        ({"models": {"acme/x": {"config": {"model_type": "gpt2"}}}}, "does not serve model_type"),
        (
            {"models": {"acme/x": {"config": {**CONFIG, "vocab_size": None}}}},
            "models.acme/x: config: config.json lacks vocab_size",
        ),
        ({"models": {"acme/x": {"config": CONFIG, "weights": "int4"}}}, "models.acme/x: weights:"),
    ],
)
def test_an_invalid_entry_is_reported_in_one_line_with_its_name(
    add: Callable[[Any], None], content: Any, words: str
) -> None:
    with pytest.raises(StartError) as caught:
        add(content)
    assert str(caught.value).startswith("The catalogue can't be used: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"can't be read: No such file"):
        read_catalogue(tmp_path / "none.yaml")


def test_the_operator_exits_with_that_message(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("accelerators: {nvidia-x: {memoryMiB: much, labels: {a: [b]}}}")
    environment = {**os.environ, "DSO_SERVER_IMAGE": "server:test", "DSO_CATALOG": str(path)}
    ended = subprocess.run(
        [sys.executable, "-m", "deepseek_operator"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "catalog.accelerators.nvidia-x: memoryMiB: Input should be a valid" in ended.stderr
    assert "Traceback" not in ended.stderr
