"""Simulated ranks and GPUs: a start runs the real code without computing or storing values.

Tensors are on torch's `meta` device, and the bytes of files are counted instead of read. Everything
else is the server's own code.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.plan.sizing import memory
from deepseek_server.distributed.process_group import SingleProcessGroup
from deepseek_server.kernels import launcher
from deepseek_server.models.loading import meta_model as skeleton


class Rank(SingleProcessGroup):
    """One rank of a group whose other ranks are absent."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


class CountedFiles:
    """Recorded read requests, without reading.

    Attributes:
        asked: File, offset and length of each request, in order.
        bytes: The sum of the lengths.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Path, int, int]] = []
        self.bytes = 0
        self._lock = threading.Lock()
        self._known: dict[int, tuple[Path, int]] = {}

    def preadv(self, descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        """Return the number of bytes that os.preadv would read."""
        file, size = self._file(descriptor)
        count = max(min(sum(map(len, buffers)), size - offset), 0)
        with self._lock:
            self.asked.append((file, offset, count))
            self.bytes += count
        return count

    def _file(self, descriptor: int) -> tuple[Path, int]:
        if descriptor not in self._known:
            file = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._known[descriptor] = file, os.fstat(descriptor).st_size
        return self._known[descriptor]


@contextmanager
def gpu(kind: str) -> Iterator[CountedFiles]:
    """Simulate a GPU of a kind for the loading code during the block."""
    profile, files, allocate = accelerators().profiles[kind], CountedFiles(), skeleton.allocate
    free = profile.memory - memory.RESERVED - memory.NCCL
    with ExitStack() as stack:
        for target, name, value in (
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "get_device_capability", lambda *_: capability(profile)),
            (torch.cuda, "mem_get_info", lambda *_: (free, profile.memory)),
            (launcher, "provide", lambda: True),
            (skeleton, "allocate", lambda model, _: allocate(model, torch.device("meta"))),
            (os, "preadv", files.preadv),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield files


def capability(profile: Profile) -> tuple[int, int]:
    """Return NVIDIA's compute capability of a kind."""
    major, _, minor = profile.capability.partition(".")
    return int(major), int(minor)
