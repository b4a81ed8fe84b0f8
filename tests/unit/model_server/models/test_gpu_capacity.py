"""Allocation of the KV cache on a fake GPU that only counts bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from deepseek_server.attention.base import CacheSize
from deepseek_server.distributed.process_group import SINGLE_PROCESS
from deepseek_server.models import capacity, step_probe

GIB = 2**30


@dataclass
class Gpu:
    """Allocated bytes by purpose; an allocation that does not fit raises torch's error.

    Attributes:
        free: Bytes beside the weights.
        step: Actual bytes of a step.
        measured: Bytes that the measurement reports.
    """

    free: int
    step: int
    measured: int
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.free - sum(self.taken.values())

    def take(self, what: str, size: int) -> None:
        self.taken[what] = 0
        if size > self.left:
            raise torch.cuda.OutOfMemoryError(f"{what}: {size} of {self.left}")
        self.taken[what] = size


class Runner:
    """The methods of a PagedRunner that `capacity` uses."""

    supports_cuda_graphs, max_num_seqs, block_size = True, 256, 64

    def __init__(self, gpu: Gpu, blocks: int, graph: int) -> None:
        self.gpu, self.num_blocks, self.graph = gpu, blocks, graph
        self.pieces: list[int] = []
        self.graphs = 0

    def use(self, attention: int) -> None:
        self.num_blocks, self.graphs = attention, 0
        self.gpu.taken["graphs"] = 0

    def capture_piecewise(self, counts: Sequence[int]) -> None:
        self.pieces = list(counts)
        self.gpu.take("pieces", self.gpu.step * counts[-1] // 8192)

    def capture_decode(self, counts: Sequence[int]) -> int:
        self.gpu.take("graphs", self.graph * len(counts))
        return len(counts)

    def use_decode_graphs(self, graphs: int) -> None:
        self.graphs = graphs


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that allocates a cache on a GPU and returns the runner."""

    def make(gpu: Gpu, per_token: int, graph: int = 16 * 2**20) -> Runner:
        def attention(size: CacheSize) -> int:
            gpu.take("cache", 0)
            gpu.take("cache", (size.blocks + 1) * size.block_size * per_token)
            return size.blocks

        def run(runner: Runner, chunks: Sequence[Any]) -> None:
            gpu.take("step", gpu.step)
            gpu.take("step", 0)

        monkeypatch.setattr(step_probe, "step_bytes", lambda *_: gpu.measured)
        monkeypatch.setattr(step_probe, "decode_graph_bytes", lambda runner: 19 * runner.graph)
        monkeypatch.setattr(step_probe, "free_bytes", lambda: gpu.left)
        monkeypatch.setattr(step_probe, "run", run)
        cache = capacity._Cache(attention, 3, 64, per_token, 163_840, 0.0)  # type: ignore[arg-type]
        runner: Any = capacity._on_gpu(
            lambda blocks: Runner(gpu, cache.attention(blocks), graph),  # type: ignore[arg-type, return-value]
            cache,
            8192,
            SINGLE_PROCESS,
        )
        return runner

    return make


def test_three_layers_of_v3_start_on_an_h200(made: Any) -> None:
    """A cache of nine tenths of the free memory left no room for CUDA graphs: the start failed."""
    gpu = Gpu(free=113 * GIB, step=int(3.2 * GIB), measured=int(3.2 * GIB))
    runner = made(gpu, per_token=3456)
    assert runner.graphs == 19
    assert runner.pieces[-1] == 4096
    assert gpu.taken["cache"] > 100 * GIB
    assert gpu.left >= gpu.step, "the largest step fits at any time"


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_step_larger_than_measured_shrinks_the_cache(
    made: Any, step: int, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Gpu(free=20 * GIB, step=step * GIB, measured=GIB)
    runner = made(gpu, per_token=57_344)
    assert runner.graphs == 19
    assert gpu.left >= gpu.step
    warned = [record.message for record in caplog.records if "does not fit" in record.message]
    assert bool(warned) == (step > 1)


def test_graphs_of_large_steps_are_skipped_if_memory_is_short(made: Any) -> None:
    gpu = Gpu(free=8 * GIB, step=2 * GIB, measured=2 * GIB)
    runner = made(gpu, per_token=57_344)
    assert 0 < runner.pieces[-1] < 4096
    assert gpu.taken["cache"] > GIB
    assert gpu.left >= gpu.step


def test_a_step_that_never_fits_fails_the_start(made: Any) -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        made(Gpu(free=20 * GIB, step=19 * GIB, measured=GIB), per_token=57_344)
