"""Steps of single tokens as CUDA graphs.

Such a step is a thousand small kernels, and launching them one by one takes the CPU longer than
the GPU takes to compute. A recorded step is launched as a whole. It is recorded for some numbers
of tokens; a step between two of them runs as the larger one, and what it computes too much belongs
to a slot and a block that are nobody's.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from deepseek_server.attention.interface import Attention, Row
from deepseek_server.engine.step import Chunk
from deepseek_server.models.inputs import StepInputs, step_inputs

log = logging.getLogger(__name__)

Forward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


def sizes(most: int) -> list[int]:
    """The numbers of tokens to record, ascending: few, and none much larger than what it serves."""
    steps = [1, 2, 4, *range(8, 64, 8), *range(64, 128, 16), *range(128, most, 32)]
    return [*(size for size in steps if size < most), most]


@dataclass(frozen=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    logits: torch.Tensor


class Graphs:
    """Recorded steps.

    Args:
        forward: the model over a row of tokens: token ids, slots, positions, and 0 for the logits
            after all of them; see PagedRunner.
        attention: attention that can be recorded.
        most: single tokens of a step at most.
        device: a GPU.
    """

    def __init__(
        self, forward: Forward, attention: Attention, most: int, device: torch.device
    ) -> None:
        self._attention = attention
        self._sizes = sizes(most)
        self._size_for = np.searchsorted(self._sizes, np.arange(most + 1))
        # Tokens, slots, positions and places of the step, where recorded kernels read them.
        self._inputs = torch.zeros((4, most), dtype=torch.int64, device=device)
        self._idle = np.array(
            [[0], [most], [0], [attention.size.blocks * attention.size.block_size]]
        )
        self._device = device
        self._recorded: dict[int, _Recorded] = {}
        started = time.monotonic()
        pool = None
        # The largest one first: the smaller ones then find room in its memory.
        for size in reversed(self._sizes):
            recorded = self._record(forward, size, pool)
            pool = pool or recorded.graph.pool()
            self._recorded[size] = recorded
        log.info(
            "recorded %d graphs for up to %d tokens in %.1f s",
            len(self._sizes),
            most,
            time.monotonic() - started,
        )

    def run(self, inputs: StepInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Run a step of single tokens.

        Returns:
            Logits as Runner.run gives them, which the next step overwrites, and the slots of the
            sequences that they are of: [n].
        """
        count = len(inputs.tokens)
        size = self._sizes[self._size_for[count]]
        padded = np.repeat(self._idle, size, axis=1)
        for row, array in zip(padded, inputs.arrays, strict=False):
            row[:count] = array
        packed = np.concatenate((padded.ravel(), inputs.sampled, inputs.sampled_slots))
        moved = torch.from_numpy(packed).pin_memory().to(self._device, non_blocking=True)
        rows, sampled, slots = moved.split([4 * size, len(inputs.sampled), len(inputs.sampled)])
        self._inputs[:, :size].copy_(rows.view(4, size))
        self._attention.plan(Row(inputs.chunks, inputs.singles, self._inputs[3, :size], size))
        recorded = self._recorded[size]
        recorded.graph.replay()
        if len(inputs.sampled) == count and (inputs.sampled[1:] > inputs.sampled[:-1]).all():
            return recorded.logits[:count], slots
        return recorded.logits[sampled], slots

    def _record(self, forward: Forward, size: int, pool: tuple[int, int] | None) -> _Recorded:
        tokens, slots, positions, places = self._inputs[:, :size]
        slots.fill_(int(self._idle[1, 0]))
        places.fill_(int(self._idle[3, 0]))
        chunk = Chunk((0,), start=0, blocks=(self._attention.size.blocks,), sample=True)
        row = step_inputs([chunk], self._attention.size.block_size)
        self._attention.plan(Row(row.chunks, row.singles, places, size))

        def run() -> torch.Tensor:
            return forward(tokens, slots, positions, 0)

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(side):
                run()  # libraries set themselves up on a first call, which cannot be recorded
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                logits = run()
        return _Recorded(graph, logits)
