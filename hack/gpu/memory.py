"""Compare the planned GPU memory of a model with the measured one: `python -m hack.gpu.memory`.

Writes a model of a published shape with random weights (`--profile 7b`: 15 GB of disk, `v2-lite`:
31 GB; kept for the next run), loads it as the server does, allocates the largest cache that the GPU
allows, runs the largest step and the maximum number of requests, and compares. Prints JSON: planned
bytes, measured bytes, and their ratio. Exits with 1 if weights, cache bytes per token or the total
deviate by more than 5 %.

Without a GPU, `--device cpu --profile tiny` compares only weights and cache bytes per token.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.server.commands.make_model import existing
from benchmarks.server.model import profiles
from benchmarks.server.model.make_model import weight_bytes
from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import Model
from deepseek_operator.catalog.shape import CACHED
from deepseek_operator.plan.sizing.memory import BYTES, Memory
from deepseek_server.attention.sparse.attention import SparseAttention
from deepseek_server.config import ModelConfig
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.engine.runner import Chunk
from deepseek_server.errors import StartError
from deepseek_server.models import capacity, memory_budget
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.footprint import measure_cache
from deepseek_server.models.layers import compressed
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading.checkpoint import Checkpoint, inspect
from deepseek_server.models.loading.loading import load
from deepseek_server.models.runners.compressed import footprint
from deepseek_server.models.runners.paged import PagedRunner, fits
from deepseek_server.server.lifecycle import Progress
from deepseek_server.worker.main import MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS

ALLOWED = 0.05
JUDGED = ("weights", "kv_per_token", "kv_per_sequence", "total")
# In the form of the node label `nvidia.com/gpu.product`.
PRODUCT = "nvidia.com/gpu.product"
OTHERS = 2**30  # bytes that other processes may hold on the GPU without a note
DTYPE = "bfloat16"


@dataclass
class Measured:
    """Bytes used by the server, by purpose; entries that the device cannot report are missing.

    Attributes:
        of: weights, kv_per_token, kv_cache, step, steps, reserved, total; for models with a cache
            per request only weights, kv_per_token and kv_per_sequence.
        tokens: Capacity of the cache in tokens.
        attention: Attention backend.
        captured: Whether steps are captured as CUDA graphs.
        seconds: Duration of each part of this program.
    """

    of: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    attention: str = ""
    captured: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Print the start of a part and record its duration."""
        print(f"{part} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - began, 1)


def measure(
    checkpoint: Checkpoint, device: str, attention: str, total: int, group: Group = SINGLE_PROCESS
) -> Measured:
    """Load a model, allocate its cache and run the largest steps.

    Args:
        checkpoint: The model.
        device: `cpu` or `cuda`.
        attention: Attention backend, or `auto`.
        total: Bytes of the GPU, to derive the memory outside torch.
        group: The ranks that share the model.
    """
    found = Measured()
    config = ModelConfig.model_validate(
        {"id": "m", "source": {"path": str(checkpoint.directory)}, "dtype": DTYPE}
    )
    with found.timed("loading"):
        before = _allocated(device)
        loaded = load(checkpoint, config, device, Progress(), group)
        found.of["weights"] = _allocated(device) - before or skeleton.size(loaded.model)

    if not fits(loaded.model):
        rings = compressed.fits(loaded.model)
        cache = footprint(loaded.model) if rings else measure_cache(loaded.model)
        found.of["kv_per_token"] = cache.per_token
        if cache.per_sequence:
            found.of["kv_per_sequence"] = cache.per_sequence
        return found

    max_num_batched_tokens = min(MAX_NUM_BATCHED_TOKENS[device], loaded.context)
    with found.timed("making the cache"), _noting(found):
        runner = paged_runner(
            loaded.model,
            context=loaded.context,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=MAX_NUM_SEQS,
            attention=attention,
            group=group,
        )
    cached = _cached_bytes(runner._attention)
    found.of["kv_per_token"] = cached / (runner.num_blocks + 1) / runner.block_size
    found.of["kv_cache"] = cached
    found.tokens = runner.num_blocks * runner.block_size
    found.attention = type(runner._attention).__name__
    found.captured = runner.supports_cuda_graphs
    with found.timed("running the largest steps"):
        _run(runner, max_num_batched_tokens)
    if device == "cuda":
        of, kept, free = found.of, torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]
        of["steps"] = kept - of["weights"] - of["kv_cache"]
        of["graphs"] = of["steps"] - of["step"]
        of["reserved"], of["total"] = total - free - kept, total - free
    return found


@contextmanager
def _noting(found: Measured) -> Iterator[None]:
    """Record the server's measurements before it allocates its cache."""
    budget = memory_budget.MemoryBudget

    def noted(
        free: int, step: int, graphs: int = 0, copies: float = 0.0
    ) -> memory_budget.MemoryBudget:
        found.of["step"] = step
        found.of["kept_free"] = budget(free, step, graphs, copies).kept_free
        return budget(free, step, graphs, copies)

    with patch.object(capacity, "MemoryBudget", noted):
        yield


def _cached_bytes(attention: Any) -> int:
    """Return the bytes of all caches of an attention backend; sparse attention has two."""
    if isinstance(attention, SparseAttention):
        return attention.cached_bytes
    return int(attention.cache.nbytes)


def _allocated(device: str) -> int:
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def _run(runner: PagedRunner, tokens: int) -> None:
    """Run a step with the most tokens of one request, then one with the most decode tokens."""
    blocks = tuple(range(min(-(-tokens // runner.block_size), runner.num_blocks)))
    long = min(tokens, len(blocks) * runner.block_size)
    runner.run([Chunk((7,) * long, 0, blocks, sample=True)])
    most = min(MAX_NUM_SEQS, runner.num_blocks)
    runner.run([Chunk((7,), 0, (n,), sample=True, request_index=n) for n in range(most)])
    if runner.overlap_scheduling:
        torch.cuda.synchronize()


def planned(
    checkpoint: Checkpoint, profile: Profile, captured: bool, gpus: int = 1
) -> tuple[dict[str, float], int]:
    """Return the planned bytes by purpose, and the planned capacity of the cache in tokens."""
    memory = Memory(Model.of_file(checkpoint.config), profile, gpus, DTYPE, captured)
    bytes_of = {
        "weights": memory.weights,
        "kv_per_token": memory.per_token,
        "kv_per_sequence": memory.model.shape.cache_per_sequence * BYTES[DTYPE] / CACHED,
        "kv_cache": memory.cache,
        "step": memory.step,
        "steps": memory.steps,
        "graphs": memory.graphs,
        "kept_free": memory.kept_free,
        "reserved": memory.reserved,
        "total": memory.reserved + memory.weights + memory.steps + memory.cache,
    }
    return bytes_of, int(memory.cache / memory.per_token)


def kind(name: str | None, notes: list[str]) -> tuple[str, Profile]:
    """Return the catalogue's entry of this GPU, or an entry from the GPU's own properties."""
    known = accelerators().profiles
    if name:
        if name not in known:
            sys.exit(f"unknown accelerator {name!r}: write one of {', '.join(known)}")
        return name, known[name]
    if not torch.cuda.is_available():
        return "nvidia-a100-80gb", known["nvidia-a100-80gb"]  # supports the same types as a CPU
    product = torch.cuda.get_device_name().replace(" ", "-")
    if found := accelerators().of_node({PRODUCT: product}):
        return found, known[found]
    properties = torch.cuda.get_device_properties(0)
    notes.append(f"the catalogue has no {product}: planned with the memory that torch reports")
    return product, Profile(
        memoryMiB=properties.total_memory // 2**20,
        capability=f"{properties.major}.{properties.minor}",
        labels={PRODUCT: [product]},
    )


def shown(notes: list[str], profile: Profile) -> int:
    """Return the GPU's bytes by nvidia-smi, or by the catalogue; note other processes on it."""
    query = ["nvidia-smi", "--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits"]
    try:
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        answer = subprocess.run([*query, "-i", uuid], capture_output=True, text=True, check=True)
        total, used = (int(part) * 2**20 for part in answer.stdout.strip().split(","))
    except (OSError, subprocess.CalledProcessError, ValueError, AttributeError):
        notes.append("nvidia-smi does not report this GPU: using the catalogue's memory size")
        return profile.memory
    if total != profile.memory:
        notes.append(f"nvidia-smi shows {total} bytes, but the plan assumed {profile.memory}")
    if used > OTHERS:
        notes.append(f"{used} bytes were in use before: use a GPU without other processes")
    return total


def compare(
    checkpoint: Checkpoint,
    device: str,
    attention: str,
    name: str | None,
    group: Group = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Return the printed result."""
    notes: list[str] = []
    called, profile = kind(name, notes)
    total = shown(notes, profile) if device == "cuda" else 0
    found = measure(checkpoint, device, attention, total, group)
    bytes_of, tokens = planned(checkpoint, profile, found.captured, group.size)
    if device == "cpu":
        found.of = {part: found.of[part] for part in JUDGED if part in found.of}
        notes.append("on a CPU only weights and cache bytes per token can be compared")
    compared = {part: _row(bytes_of[part], measured) for part, measured in sorted(found.of.items())}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "planned_for": called,
        "torch": torch.__version__,
        "attention": found.attention,
        "graphs": found.captured,
        "bytes": compared,
        "tokens": _row(tokens, found.tokens) if found.tokens and device == "cuda" else None,
        "off": [part for part in JUDGED if part in compared and _off(compared[part])],
        "seconds": found.seconds,
        "notes": notes,
    }


def _row(predicted: float, measured: float) -> dict[str, float | None]:
    ratio = round(predicted / measured, 4) if measured else None
    return {"planned": round(predicted), "measured": round(measured), "planned_by_measured": ratio}


def _off(row: dict[str, float | None]) -> bool:
    ratio = row["planned_by_measured"]
    return ratio is None or abs(ratio - 1) > ALLOWED


def directory(profile: str, where: Path | None, layers: int | None) -> Path:
    """Return the model's directory; write the model if it is missing and the disk has space."""
    parent = where or Path(tempfile.gettempdir())
    while not parent.exists():
        parent = parent.parent
    needed = weight_bytes(profiles.configuration(profile, layers))
    free = shutil.disk_usage(parent).free
    complete = where is not None and (where / "config.json").is_file()
    if needed > free and not complete:
        sys.exit(
            f"{profile} needs {needed / 1e9:.1f} GB of disk and {parent} has {free / 1e9:.1f}: "
            "choose another directory with --directory, or fewer layers with --layers"
        )
    return existing(profile, where, layers)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.gpu.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--profile", default="7b", help=f"7b, or one of {', '.join(profiles.NAMES)}"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--attention", choices=("auto", "sdpa", "flashinfer"), default="auto")
    parser.add_argument("--accelerator", help="catalogue name of the GPU, if it is not detected")
    parser.add_argument("--layers", type=int, help="number of layers, to make the model smaller")
    parser.add_argument("--directory", type=Path, help="model directory, written if missing")
    flags = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(message)s")
    if flags.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "torch finds no GPU: run this on a machine with one, or use --device cpu --profile tiny"
        )
    try:
        profile = profiles.named(flags.profile)
        checkpoint = inspect(directory(profile, flags.directory, flags.layers))
        result = compare(checkpoint, flags.device, flags.attention, flags.accelerator)
    except (StartError, ValueError, torch.OutOfMemoryError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps({"profile": profile, "layers": flags.layers, **result}, indent=1))
    if result["off"]:
        sys.exit(f"deviations of more than {ALLOWED:.0%}: {', '.join(result['off'])}")


if __name__ == "__main__":
    main()
