"""The engine of a slice, started as by the server, with the duration of each phase."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from deepseek_server.config import Config, validate
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.engine.core import Core
from deepseek_server.engine.ipc import Ready
from deepseek_server.engine.runner import Runner
from deepseek_server.models.build import load_engine
from deepseek_server.models.layers.fp8_modules import Fp8Experts, Fp8Linear
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.server.lifecycle import Progress
from deepseek_server.worker.main import MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS, PREFILL_SHARE

Device = Literal["cpu", "cuda"]


class Phases(Progress):
    """Progress that records the start of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[tuple[str, float]] = []

    def begin(self, stage: str, total: int = 0) -> None:
        super().begin(stage, total)
        self._begun.append((stage, time.monotonic()))

    def seconds(self) -> dict[str, float]:
        """Return the duration of each stage, of the last one until now."""
        ends = [began for _, began in self._begun[1:]] + [time.monotonic()]
        return {
            stage: round(end - began, 2)
            for (stage, began), end in zip(self._begun, ends, strict=True)
        }


@dataclass(frozen=True)
class Started:
    """An engine that accepts requests.

    Attributes:
        core: The engine.
        runner: Its model and cache.
        ready: Its limits.
        max_num_batched_tokens: Tokens of its largest step.
        packed: Paths of the modules that multiply in fp8.
        result: Result of the check.
    """

    core: Core
    runner: Runner
    ready: Ready
    max_num_batched_tokens: int
    packed: list[str]
    result: dict[str, Any]


def start(directory: Path, device: Device, group: Group = SINGLE_PROCESS) -> Started:
    """Load a model and create its engine with default settings."""
    phases, began = Phases(), time.monotonic()
    core, ready = load_engine(
        inspect(directory),
        _config(directory, device),
        phases,
        group,
        max_num_seqs=MAX_NUM_SEQS,
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS[device],
        prefill_share=PREFILL_SHARE[device],
    )
    result: dict[str, Any] = {
        "passed": True,
        "seconds": phases.seconds() | {"total": round(time.monotonic() - began, 2)},
        "context": ready.context,
        "cache_tokens": core._runner.num_blocks * core._runner.block_size,
    }
    result |= taken()
    packed = [
        path
        for path, module in core._runner._model.named_modules()
        if isinstance(module, Fp8Linear | Fp8Experts)
    ]
    result["modules_in_eight_bits"] = len(packed)
    limits = core._scheduler._limits
    return Started(core, core._runner, ready, limits.max_num_batched_tokens, packed, result)


def taken() -> dict[str, dict[str, int]]:
    """Return the GPU memory that this process uses, empty without a GPU."""
    if not torch.cuda.is_initialized():
        return {}
    return {
        "bytes": {
            "allocated": torch.cuda.memory_allocated(),
            "peak": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.memory_reserved(),
            "free": torch.cuda.mem_get_info()[0],
        }
    }


def _config(directory: Path, device: Device) -> Config:
    model = {"id": directory.name, "source": {"path": str(directory.absolute())}}
    return validate({"model": model, "device": device}, "this program's configuration")
