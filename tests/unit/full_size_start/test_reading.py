"""Loading of DeepSeek-V3 on simulated GPUs with the server's own code, without reads or memory."""

import itertools
from pathlib import Path

import pytest
import torch

from deepseek_server.errors import PermanentError
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading import weights
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.models.loading.loading import LoadedModel, load
from deepseek_server.server.lifecycle import Progress
from tests.support.model_server.serving import directory_config
from tests.unit.full_size_start.plans import KEPT, MULTIPLIED_IN, READ, needed, plan_of
from tests.unit.full_size_start.ranks import CountedFiles, Rank, gpu

# Read rate of a rank in the simulated start, in bytes per second.
SPEED = 2e9


class Watched(Progress):
    """Progress whose clock advances with the requested bytes."""

    def __init__(self, files: CountedFiles) -> None:
        super().__init__(lambda: files.bytes / SPEED)
        self.stages: list[str] = []
        self.reached: list[int] = []
        self.left: list[int | None] = []

    def begin(self, stage: str, total: int = 0) -> None:
        super().begin(stage, total)
        self.stages.append(str(self))

    def reach(self, loaded: int, total: int | None = None) -> None:
        super().reach(loaded, total)
        self.reached.append(loaded)
        self.left.append(self.seconds_left)


def loaded(
    checkpoint: Checkpoint, rank: int, size: int, kind: str
) -> tuple[LoadedModel, CountedFiles, Watched]:
    config = directory_config(checkpoint.directory).model
    with gpu(kind) as files:
        progress = Watched(files)
        return load(checkpoint, config, "cuda", progress, Rank(rank, size)), files, progress


def test_a_rank_of_eight_reads_its_part_in_the_order_of_the_files(checkpoint: Checkpoint) -> None:
    found, files, progress = loaded(checkpoint, 3, 8, "nvidia-h200")
    assert skeleton.size(found.model) == KEPT[8]
    factors = sum(tensor.bytes for tensor in needed() if MULTIPLIED_IN.fullmatch(tensor.name))
    assert files.bytes == READ[8] + factors
    order = [file for file, _ in itertools.groupby(file for file, _, _ in files.asked)]
    # Threads overtake each other by at most one piece, which is visible at the start of a file.
    firsts = list(dict.fromkeys(order))
    assert firsts == sorted(firsts)
    assert len(firsts) == 160
    assert max(count for _, _, count in files.asked) <= weights.CHUNK_BYTES

    total = READ[8]
    assert progress.stages == [
        "reading the structure of DeepSeek-V3",
        "loading DeepSeek-V3 as bfloat16: 0 % of 265.3 GiB",
    ]
    assert progress.bytes == (total, total)
    assert progress.reached == sorted(progress.reached)
    assert progress.reached[-1] == total
    for reached, left in zip(progress.reached, progress.left, strict=True):
        if reached > 2 * SPEED:  # after which the speed is known
            assert left == pytest.approx((total - reached) / SPEED, rel=0.05, abs=2)


def test_without_fp8_support_all_weights_become_bfloat16(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "stream", lambda *_: None)
    found, _, progress = loaded(checkpoint, 31, 32, "nvidia-a100-80gb")
    dtypes = {tensor.dtype for tensor in skeleton.stored_tensors(found.model).values()}
    assert dtypes == {torch.bfloat16, torch.float32}
    assert skeleton.size(found.model) == 45_732_028_416
    assert progress.stages[-1] == "loading DeepSeek-V3 as bfloat16: 0 % of 226.5 GiB"


@pytest.mark.parametrize(
    ("kind", "size", "needs"),
    [("nvidia-h100", 8, "80.9 GiB"), ("nvidia-a100-80gb", 16, "81.5 GiB")],
)
def test_too_few_gpus_are_detected_before_reading(
    checkpoint: Checkpoint, kind: str, size: int, needs: str
) -> None:
    config = directory_config(checkpoint.directory).model
    with gpu(kind) as files, pytest.raises(PermanentError, match=f"need {needs} of memory as bfl"):
        load(checkpoint, config, "cuda", Progress(), Rank(0, size))
    assert not files.asked


def test_one_file_is_really_read(checkpoint: Checkpoint, published: Path) -> None:
    """Read the smallest file: from a hole of a gigabyte into tensors without memory."""
    smallest = min(published.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    reads, model = plan_of(checkpoint, 0, 8)
    of_file = [read for read in reads if read.stored.file == smallest]
    skeleton.allocate(model, torch.device("meta"))
    progress = Progress()
    progress.begin("loading", weights.size(of_file))
    weights.stream(of_file, skeleton.stored_tensors(model), progress)
    size = weights.size(of_file)
    assert progress.bytes == (size, size)
    assert size > 0.4 * smallest.stat().st_size
