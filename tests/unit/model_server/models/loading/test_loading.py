"""A streamed model equals the model that transformers loads, bit for bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from deepseek_server.errors import PermanentError
from deepseek_server.models.loading import loading, weights
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.loading.loading import DTYPES, load
from deepseek_server.models.loading.pretrained import from_pretrained
from deepseek_server.server.lifecycle import Progress
from hack.models.families import FAMILIES
from tests.support.model_server.serving import directory_config


@pytest.fixture
def directory(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a model for modification."""
    return lambda family: Path(shutil.copytree(tiny(family), tmp_path / family))


class Recorded(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.reached: list[int] = []

    def reach(self, loaded: int, total: int | None = None) -> None:
        super().reach(loaded, total)
        self.reached.append(loaded)


def streamed(
    directory: Path, dtype: str = "bfloat16", progress: Progress | None = None
) -> PreTrainedModel:
    config = directory_config(directory, dtype=dtype).model
    return load(inspect(directory), config, "cpu", progress or Progress()).model


def test_threads_default_to_the_containers_cpus_and_can_be_set(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(loading, "cpus", lambda: 3)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", str(before))
        streamed(tiny("llama"))
        assert torch.get_num_threads() == before
        monkeypatch.delenv("OMP_NUM_THREADS")
        streamed(tiny("llama"))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def edit_tensors(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def edit_config(directory: Path, **fields: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def split(directory: Path, count: int) -> None:
    """Distribute the tensors over several files, neighbours into different ones."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    index = {name: f"model-{number % count}.safetensors" for number, name in enumerate(tensors)}
    for file in set(index.values()):
        shard = {name: tensor for name, tensor in tensors.items() if index[name] == file}
        save_file(shard, directory / file, metadata={"format": "pt"})
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def assert_same(model: PreTrainedModel, expected: PreTrainedModel) -> None:
    found = dict(model.named_parameters()) | dict(model.named_buffers())
    wanted = dict(expected.named_parameters()) | dict(expected.named_buffers())
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
    tokens = torch.arange(4, 40)[None]
    with torch.inference_mode():
        assert torch.equal(model(tokens).logits, expected(tokens).logits)


def pretrained(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_streamed_model_equals_transformers(family: str, dtype: str, tiny) -> None:
    if (family, dtype) == ("deepseek-v4", "float16"):
        with pytest.raises(PermanentError, match="does not support float16: set dtype to bfloat16"):
            streamed(tiny(family), dtype)
        return
    model = streamed(tiny(family), dtype)
    assert not model.training
    assert_same(model, pretrained(tiny(family), DTYPES[dtype]))


@pytest.mark.parametrize("family", FAMILIES)
def test_from_several_files_in_small_pieces(
    family: str, directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory(family)
    split(path, 3)
    monkeypatch.setattr(weights, "CHUNK_BYTES", 1000)
    assert_same(streamed(path), pretrained(path, torch.bfloat16))


def test_progress_counts_every_byte(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "CHUNK_BYTES", 4096)
    progress = Recorded()
    streamed(tiny("deepseek-v3"), "float32", progress)
    total = sum(t.nbytes for t in load_file(tiny("deepseek-v3") / "model.safetensors").values())
    assert progress.bytes == (total, total)
    assert progress.reached == sorted(set(progress.reached))
    assert len(progress.reached) > total / 4096


def test_tied_embeddings_are_one_tensor(directory) -> None:
    path = directory("qwen2")
    edit_config(path, tie_word_embeddings=True)
    edit_tensors(path, lambda tensors: tensors.pop("lm_head.weight"))
    model = streamed(path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert_same(model, pretrained(path, torch.bfloat16))


def test_tied_embeddings_that_are_stored_twice(directory) -> None:
    path = directory("qwen2")
    edit_config(path, tie_word_embeddings=True)
    model = streamed(path)
    assert torch.equal(
        model.lm_head.weight, load_file(path / "model.safetensors")["model.embed_tokens.weight"]
    )


def test_multi_token_prediction_layers_are_skipped(directory) -> None:
    path = directory("deepseek-v3")
    expected = pretrained(path, torch.bfloat16)
    extra = {
        "model.layers.3.eh_proj.weight": torch.ones(128, 256, dtype=torch.bfloat16),
        "model.layers.3.self_attn.o_proj.weight": torch.ones(128, 160, dtype=torch.bfloat16),
    }
    edit_tensors(path, lambda tensors: tensors.update(extra))
    with pytest.raises(PermanentError, match=r"do not belong .* first is model\.layers\.3\.eh"):
        streamed(path)
    edit_config(path, num_nextn_predict_layers=1)
    assert_same(streamed(path), expected)


def test_stored_rotary_frequencies_are_computed_anyway(directory) -> None:
    path = directory("llama")
    expected = pretrained(path, torch.bfloat16)
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    edit_tensors(path, lambda tensors: tensors.update(extra))
    assert_same(streamed(path), expected)


def test_experts_that_are_stored_as_stacks(directory) -> None:
    path = directory("deepseek-v2")
    expected = pretrained(path, torch.bfloat16)

    def stack(tensors: dict[str, torch.Tensor]) -> None:
        for layer in (1, 2):
            experts = f"model.layers.{layer}.mlp.experts"
            one = [
                {
                    part: tensors.pop(f"{experts}.{index}.{part}_proj.weight")
                    for part in ("gate", "up", "down")
                }
                for index in range(8)
            ]
            both = [torch.cat((expert["gate"], expert["up"])) for expert in one]
            tensors[f"{experts}.gate_up_proj"] = torch.stack(both)
            tensors[f"{experts}.down_proj"] = torch.stack([expert["down"] for expert in one])

    edit_tensors(path, stack)
    assert_same(streamed(path), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda tensors: tensors.pop("model.layers.1.mlp.experts.5.up_proj.weight"),
            r"lack 1 tensors .* the first is model\.layers\.1\.mlp\.experts\.5\.up_proj\.weight",
        ),
        (
            lambda tensors: tensors.update({"model.layers.0.colour": torch.ones(1)}),
            r"contain 1 tensors that do not belong to a deepseek_v3 model .* "
            r"first is model\.layers\.0\.colour in /.*: "
            "check that both belong to the same model",
        ),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.ones(127)}),
            r"model\.norm\.weight in /.* has the shape \[127\], but config\.json requires \[128\]",
        ),
        (
            lambda tensors: tensors.update(
                {"model.norm.weight": torch.ones(128, dtype=torch.uint16)}
            ),
            r"model\.norm\.weight in /.* is of type U16, which this server cannot read",
        ),
    ],
)
def test_mismatching_tensors_are_refused(change, words: str, directory) -> None:
    path = directory("deepseek-v3")
    edit_tensors(path, change)
    with pytest.raises(PermanentError, match=words):
        streamed(path)


def test_a_file_that_shrinks_while_it_is_read(directory) -> None:
    path = directory("llama")
    checkpoint = inspect(path)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(PermanentError, match="truncated while it was read: copy or download it"):
        load(checkpoint, directory_config(path).model, "cpu", Progress())


def test_other_families_are_loaded_by_transformers(tiny) -> None:
    progress = Recorded()
    progress.begin("loading", 1000)
    checkpoint = inspect(tiny("llama"))
    model = from_pretrained(checkpoint, torch.device("cpu"), torch.bfloat16, progress, 1000)
    assert_same(model, pretrained(tiny("llama"), torch.bfloat16))
    assert progress.reached == sorted(progress.reached)
    assert progress.bytes == (1000, 1000)
