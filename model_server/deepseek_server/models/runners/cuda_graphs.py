"""CUDA graphs of decode steps.

A decode step is a thousand small kernels, and launching them one by one takes the CPU longer than
the GPU takes to compute. A captured step is launched as a whole. Graphs are captured for some
numbers of tokens; a step between two of them runs as the larger one, and its padding tokens use a
request index and a block that belong to no sequence.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from deepseek_server.attention.base import Attention, PackedBatch
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.runners.inputs import StepInputs, step_inputs

log = logging.getLogger(__name__)

Forward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


def sizes(most: int) -> list[int]:
    """Return the numbers of tokens to capture, ascending: few, with little padding between them."""
    steps = [1, 2, 4, *range(8, 64, 8), *range(64, 128, 16), *range(128, most, 32)]
    return [*(size for size in steps if size < most), most]


@cache
def capture_stream() -> torch.cuda.Stream:
    """Return the stream on which all graphs are captured.

    There is one for all: libraries keep a workspace per stream, and memory that a stream returned
    to the graphs' pool cannot be reused by another stream.
    """
    return torch.cuda.Stream()


@contextmanager
def unless_out_of_memory(what: str) -> Iterator[None]:
    """Suppress an out-of-memory error of the block and log a warning.

    Args:
        what: What the block creates, for the log.
    """
    try:
        yield
    except RuntimeError as error:
        # An interrupted capture raises an error of its own, caused by the out-of-memory error.
        causes = (error, error.__context__, error.__cause__)
        if not any(isinstance(cause, torch.cuda.OutOfMemoryError) for cause in causes):
            raise
        log.warning("not enough GPU memory for %s: such steps run without CUDA graphs", what)
    else:
        return
    torch.cuda.empty_cache()


class DecodeGraphs:
    """Captured decode steps; none until `capture` is called.

    Args:
        forward: the model's forward over a packed batch: token ids, request indices, positions, and
            0 for the logits after every token; see PagedRunner.
        attention: attention that supports CUDA graph capture.
        most: maximum number of decode tokens in a step.
        device: a GPU.
    """

    def __init__(
        self, forward: Forward, attention: Attention, most: int, device: torch.device
    ) -> None:
        self._forward, self._attention = forward, attention
        self._sizes: list[int] = []
        # Static inputs that captured kernels read: tokens, request indices, positions, slot mapping.
        self._inputs = torch.zeros((4, most), dtype=torch.int64, device=device)
        self._padding = np.array(
            [[0], [most], [0], [attention.size.blocks * attention.size.block_size]]
        )
        self._device = device
        self._captured: dict[int, torch.cuda.CUDAGraph] = {}
        self._pool: tuple[int, int] | None = None
        # Static output, shared by all graphs: steps run one after the other.
        self._logits = torch.empty(0, device=device)

    def capture(self, counts: Sequence[int]) -> None:
        """Capture graphs; sizes that do not fit into the memory are skipped.

        Args:
            counts: numbers of tokens.
        """
        started = time.monotonic()
        # Largest first: the smaller ones then reuse its memory.
        for size in sorted(counts, reverse=True):
            with unless_out_of_memory(f"a graph of decode steps of {size} tokens"):
                graph = self._capture(size)
                self._pool = self._pool or graph.pool()
                self._captured[size] = graph
        self._sizes = sorted(self._captured)
        if self._sizes:
            log.info(
                "captured %d CUDA graphs of decode steps of up to %d tokens in %.1f s",
                len(self._sizes),
                self._sizes[-1],
                time.monotonic() - started,
            )

    def can_run(self, tokens: int) -> bool:
        """Return whether a graph can run a decode step of the given number of tokens."""
        return bool(self._sizes) and tokens <= self._sizes[-1]

    def run(self, inputs: StepInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Run a decode step.

        Returns:
            Logits as Runner.run returns them, which the next step overwrites, and the request
            indices of their sequences: [n].
        """
        count = len(inputs.tokens)
        size = self._sizes[bisect_left(self._sizes, count)]
        padded = np.repeat(self._padding, size, axis=1)
        for row, array in zip(padded, inputs.arrays, strict=False):
            row[:count] = array
        packed = np.concatenate((padded.ravel(), inputs.sampled, inputs.sampled_request_indices))
        moved = torch.from_numpy(packed).pin_memory().to(self._device, non_blocking=True)
        lengths = [4 * size, len(inputs.sampled), len(inputs.sampled)]
        rows, sampled, request_indices = moved.split(lengths)
        self._inputs[:, :size].copy_(rows.view(4, size))
        slot_mapping = self._inputs[3, :size]
        self._attention.plan(
            PackedBatch(inputs.chunks, inputs.num_decode_tokens, slot_mapping, size)
        )
        self._captured[size].replay()
        if len(inputs.sampled) == count and (inputs.sampled[1:] > inputs.sampled[:-1]).all():
            return self._logits[:count], request_indices
        return self._logits[sampled], request_indices

    def _capture(self, size: int) -> torch.cuda.CUDAGraph:
        tokens, request_indices, positions, slot_mapping = self._inputs[:, :size]
        request_indices.fill_(int(self._padding[1, 0]))
        slot_mapping.fill_(int(self._padding[3, 0]))
        chunk = Chunk((0,), start=0, blocks=(self._attention.size.blocks,), sample=True)
        inputs = step_inputs([chunk], self._attention.size.block_size)
        self._attention.plan(
            PackedBatch(inputs.chunks, inputs.num_decode_tokens, slot_mapping, size)
        )

        def run() -> torch.Tensor:
            return self._forward(tokens, request_indices, positions, 0)

        side = capture_stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(side):
                # Warm-up: libraries initialize on a first call, which cannot be captured.
                logits = run()
            torch.cuda.current_stream().wait_stream(side)
            if size > len(self._logits):
                self._logits = torch.empty_like(logits)
            del logits
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=side):
                self._logits[:size].copy_(run())
        return graph
