"""The parts of the program, each of which can run in its own process."""

import json
import logging
import multiprocessing
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from deepseek_server.distributed.process_group import Group
from deepseek_server.models.loading.checkpoint import inspect
from hack.gpu import memory
from hack.gpu.slices import answers, checks, logits, reference
from hack.gpu.slices.start import Device, Started, start, taken

Result = dict[str, Any]


def engine(
    directory: Path, device: Device, context: int, vocabulary: int, group: Group
) -> tuple[dict[str, Result], Any]:
    """Start and check the engine; return the results and the input of the reference's comparison."""
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(message)s")
    found: dict[str, Result] = {}
    started = checked(found, "start", lambda: start(directory, device, group))
    if started is None:
        return found, None
    found["start"] = started.result
    model = checks.Slice(
        started.runner,
        vocabulary,
        started.max_num_batched_tokens,
        context,
        _allowed(started, device),
    )
    for name, check in checks.CHECKS.items():
        checked(found, name, lambda check=check: check(model))
    if group.size > 1:  # the logits are meaningless
        return found, None
    rows = logits.rows(vocabulary)
    ours = checked(found, "logits", lambda: logits.of_runner(started.runner, rows))
    if ours is None:
        return found, None
    del found["logits"]
    return found, ([one.numpy() for one in ours], started.packed)


def _allowed(started: Started, device: Device) -> float:
    if device == "cpu":
        return answers.ALLOWED["float32"]
    return answers.ALLOWED["fp8" if started.packed else "bfloat16"]


def compared(directory: Path, device: Device, vocabulary: int, ours: Any) -> Result:
    """Compare the logits with transformers'."""
    found, packed = ours
    tensors = [torch.from_numpy(one) for one in found]
    return reference.compare(directory, device, logits.rows(vocabulary), tensors, packed)


def planned(directory: Path, device: Device, accelerator: str | None, group: Group) -> Result:
    """Compare planned memory with used memory."""
    found = memory.compare(inspect(directory), device, "auto", accelerator, group)
    return found | {"passed": not found["off"]}


def checked(found: dict[str, Result], name: str, run: Callable[[], Any]) -> Any:
    """Run a check; record an error as its result, so that the other checks still run."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    value = None
    try:
        value = found[name] = run()
    except Exception as error:  # torch, CUDA and the engine raise many types
        traceback.print_exc()
        sentence = str(error).strip().splitlines() or [""]
        failed = {"passed": False, "error": f"{type(error).__name__}: {sentence[0]}"}
        found[name] = failed | taken()
    if isinstance(found[name], dict):  # show intermediate results
        print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    return value


def run(device: Device, part: Callable[..., Any], *arguments: Any) -> Any:
    """Run a part, on a GPU in its own process; an error is its result."""

    def of_device() -> Any:
        if device == "cpu":
            return part(*arguments)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(part, *arguments).result()

    found: dict[str, Any] = {}
    checked(found, part.__name__, of_device)
    return found[part.__name__]
