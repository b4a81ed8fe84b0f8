"""The load plans of 8 and of 16 ranks for DeepSeek-V3, made from the files' headers."""

import gc
import pickle
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deepseek_server.models.loading import checkpoint as checkpoints
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading import weight_plan as layout
from deepseek_server.models.loading import weights
from deepseek_server.models.loading.checkpoint import Checkpoint, inspect
from deepseek_server.models.loading.weight_plan import Read
from tests.unit.full_size_start.plans import (
    KEPT,
    MULTIPLIED_IN,
    READ,
    ROWS,
    needed,
    parameters_of,
    plan_of,
)


@dataclass
class Plan:
    """The plans of all ranks, in their order.

    Attributes:
        read: Bytes that each rank reads.
        kept: Bytes of its part of the model.
        rows: For each tensor, the ranges of rows that ranks read; runs of equal ranges once.
        files: The files that each rank reads, and the number of reads.
    """

    read: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    rows: dict[tuple[Path, int], list[range]] = field(default_factory=dict)
    files: list[Counter[Path]] = field(default_factory=list)


@pytest.fixture(scope="module", params=[8, pytest.param(16, marks=pytest.mark.long)])
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def plan(checkpoint: Checkpoint, size: int) -> Plan:
    found = Plan()
    for rank in range(size):
        with collected_afterwards():
            reads, model = plan_of(checkpoint, rank, size)
        assert_complete(reads, model)
        found.read.append(weights.size(reads))
        found.kept.append(skeleton.size(model))
        found.files.append(Counter(read.stored.file for read in reads))
        for read in reads:
            ranges = found.rows.setdefault((read.stored.file, read.stored.offset), [])
            if not ranges or ranges[-1] != read.rows:
                ranges.append(read.rows)
    return found


@contextmanager
def collected_afterwards() -> Iterator[None]:
    """Disable the garbage collector, which takes half of the time with so many objects."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def assert_complete(reads: Sequence[Read], model: skeleton.PreTrainedModel) -> None:
    """Check that every number of the model is read once."""
    filled: Counter[str] = Counter()
    for read in reads:
        filled[read.parameter] += len(read.rows) * len(read.columns)
    assert filled == {name: t.numel() for name, t in skeleton.stored_tensors(model).items()}
    places = {(read.parameter, read.index, read.at) for read in reads}
    assert len(places) == len(reads)


def test_every_tensor_except_those_of_the_last_layer_is_read(
    plan: Plan, checkpoint: Checkpoint
) -> None:
    read = {n for n, s in checkpoint.tensors.items() if (s.file, s.offset) in plan.rows}
    assert read == {t.name for t in needed() if not MULTIPLIED_IN.fullmatch(t.name)}


def test_rows_are_divided_without_gaps_and_all_else_is_read_by_every_rank(
    plan: Plan, checkpoint: Checkpoint, size: int
) -> None:
    for name, stored in checkpoint.tensors.items():
        ranges = plan.rows.get((stored.file, stored.offset))
        if ranges is None:
            continue
        rows = stored.shape[0]
        if ROWS.fullmatch(name):
            assert [r.start for r in ranges] == [rank * rows // size for rank in range(size)], name
            assert [r.stop for r in ranges] == [*(r.start for r in ranges[1:]), rows], name
        else:
            assert ranges == [range(rows)], name


def test_all_ranks_read_the_same_number_of_bytes(plan: Plan, size: int) -> None:
    computed = sum(
        tensor.bytes // (size if ROWS.fullmatch(tensor.name) else 1)
        for tensor in needed()
        if not MULTIPLIED_IN.fullmatch(tensor.name)
    )
    assert set(plan.read) == {READ[size]} == {computed}
    assert set(plan.kept) == {KEPT[size]}


def test_together_they_read_each_file_once_from_the_disk(plan: Plan) -> None:
    """Bytes that several ranks read come from the page cache for all ranks but the first."""
    distinct = sum(tensor.bytes for tensor in needed())
    assert distinct == 673_150_611_808
    assert sum(plan.read) > distinct
    names = [sorted(file.name for file in files) for files in plan.files]
    # Three files contain only the last layer.
    assert all(
        each == [f"model-{n:05}-of-000163.safetensors" for n in range(1, 161)] for each in names
    )


def test_a_rank_reads_a_file_in_at_most_one_piece_per_tensor(
    plan: Plan, checkpoint: Checkpoint
) -> None:
    of_file = Counter(stored.file for stored in checkpoint.tensors.values())
    for files in plan.files:
        assert all(count <= of_file[file] for file, count in files.items())


def calls(action: Callable[[], object]) -> int:
    """Count the Python function calls of an action, which do not depend on the machine."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def test_planning_takes_a_few_steps_for_each_tensor(checkpoint: Checkpoint) -> None:
    parameters = parameters_of(checkpoint)[0]
    reads = layout.reads(parameters, checkpoint.tensors, checkpoint.config)
    assert calls(lambda: inspect(checkpoint.directory)) < 8 * len(checkpoint.tensors)
    assert calls(
        lambda: layout.reads(parameters, checkpoint.tensors, checkpoint.config)
    ) < 10 * len(checkpoint.tensors)
    assert calls(lambda: list(weights._pieces(reads))) < 10 * len(reads)


def test_each_header_is_read_once(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[Path] = Counter()
    real = checkpoints.read_header

    def counted(file: Path) -> dict[str, layout.Stored]:
        read[file] += 1
        return real(file)

    monkeypatch.setattr(checkpoints, "read_header", counted)
    found, _ = plan_of(inspect(checkpoint.directory), 0, 8)
    assert found
    assert len(read) == 163
    assert set(read.values()) == {1}


@pytest.mark.long
def test_planning_takes_little_memory(checkpoint: Checkpoint) -> None:
    """A few hundred bytes per tensor, in each process of a pod."""
    parameters = parameters_of(checkpoint)[0]
    tracemalloc.start()
    try:
        kept = inspect(checkpoint.directory)
        reads = layout.reads(parameters, kept.tensors, kept.config)
        pieces = list(weights._pieces(reads))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pieces) >= len(reads)
    assert peak < 1500 * len(kept.tensors)


def test_the_checkpoint_message_to_each_rank_is_small(checkpoint: Checkpoint) -> None:
    assert len(pickle.dumps(checkpoint, pickle.HIGHEST_PROTOCOL)) < 110 * len(checkpoint.tensors)
