"""GPU memory use of a model in the bundled server, in bytes.

The terms are those of the server (models/capacity.py, runners/compressed.py and whole.py there),
computed without a GPU. docs/sizing.md has the formulas and the measurements.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from deepseek_operator.catalog.accelerators import Profile
from deepseek_operator.catalog.models import EXACT, FP4, FP8, Model
from deepseek_operator.catalog.shape import CACHED, Shape

# Memory of the driver, CUDA and the libraries: 1.5 GB on an H100 with torch's attention
# (2026-11-25); an A100 exposes 0.4 GB less to programs, and FlashInfer has buffers of its own.
RESERVED = 2 * 2**30
# Additional memory of NCCL (https://github.com/ai-dynamo/aiconfigurator, systems/*.yaml).
NCCL = 392 * 2**20
# Memory that the server keeps free: bytes for kernels that are loaded late, and for fragmentation as
# a share of a step.
LATER, FRAGMENTS = 512 * 2**20, 0.25
# Ratio of allocated memory to the tensors of a step (an H200, 2026-11-30).
SEGMENTS = 1.15
# CUDA graphs: of decode steps; and of steps with prompts up to so many tokens, limited to a share of
# the memory besides the weights.
DECODE_GRAPHS = 512 * 2**20
PROMPT_GRAPHS, GRAPHS_SHARE = 4096, 0.1
# Tokens of the server's largest step, with the paged cache and with one cache for each request.
STEP, WHOLE_STEP = 8192, 2048
# Maximum concurrent requests, likewise.
REQUESTS, WHOLE_REQUESTS = 256, 16
# Bytes of the tile in which sparse and compressed attention score and gather their tokens.
TILE = 2**29
# Bytes of plain attention for a pair of tokens and a head: scores in two types, and a mask.
PAIR = 8

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# The only compute capability with block-fp8 matrix products in the server, and the minimum for
# transformers, which loads V4, to keep them packed.
FP8_CAPABILITY, FP8_OF_TRANSFORMERS = "9.0", (8, 9)


class Widths(NamedTuple):
    """Bytes per parameter in memory, by the kinds of catalog/numbers.py."""

    expert: float
    heads: float
    split: float
    whole: float
    plain: float


@dataclass(frozen=True)
class Memory:
    """The memory use of a model on each of its GPUs.

    Attributes:
        model: The model.
        profile: The GPU profile.
        gpus: GPUs that share every layer.
        dtype: Data type of the computation.
        recorded: Whether the server captures CUDA graphs, which it does with FlashInfer.
        stages: Pipeline stages, each on as many GPUs; assumed to be of equal size.
    """

    model: Model
    profile: Profile
    gpus: int
    dtype: str
    recorded: bool = True
    stages: int = 1

    @property
    def total(self) -> int:
        """Bytes of the GPU."""
        return self.profile.memory

    @property
    def reserved(self) -> int:
        """Bytes of driver and libraries."""
        return RESERVED + (NCCL if self.gpus * self.stages > 1 else 0)

    @cached_property
    def packs(self) -> bool:
        """Return whether matrices stay packed in memory if each GPU's part has whole blocks."""
        if self.model.weights == "bf16" or not self.profile.capability:
            return False
        if self.model.packed_from:
            # The engine fails to start if a part does not have whole blocks.
            whole = self.model.shape.packs(self.gpus)
            return whole and self.profile.version >= self.model.packed_from
        if self.model.shape.model_type == "deepseek_v4":
            return self.profile.version >= FP8_OF_TRANSFORMERS
        return self.profile.capability == FP8_CAPABILITY

    @cached_property
    def packed(self) -> bool:
        """Return whether experts and other feed-forward matrices, nearly the whole model, stay packed."""
        shape = self.model.shape
        return self.packs and (shape.model_type == "deepseek_v4" or shape.packs(self.gpus))

    @cached_property
    def widths(self) -> Widths:
        """Return the bytes per parameter in each kind of matrix."""
        shape, plain = self.model.shape, BYTES[self.dtype]
        matrix: float = FP8 if self.packed else plain
        expert: float = FP4 if self.packed and self.model.weights == "fp4" else matrix
        heads = self.packs and shape.numbers.heads and shape.packs_heads(self.gpus)
        whole = FP8 if self.packs else plain
        return Widths(expert, FP8 if heads else plain, matrix, whole, plain)

    @cached_property
    def weights(self) -> int:
        """Return the bytes of the weights."""
        numbers, widths = self.model.shape.numbers, self.widths
        split = (
            numbers.experts * widths.expert
            + numbers.heads * widths.heads
            + numbers.split * widths.split
            + numbers.split_plain * widths.plain
        ) / self.gpus
        plain = numbers.whole_plain * widths.plain + numbers.whole_exact * EXACT
        return round((split + numbers.whole * widths.whole + plain) / self.stages)

    @cached_property
    def per_token(self) -> float:
        """Return the cache bytes per token, at least one."""
        cached = self.model.shape.cache_of_gpu(self.gpus) * BYTES[self.dtype] / CACHED
        return max(cached / self.stages, 1)

    @cached_property
    def step(self) -> int:
        """Return the bytes of the largest step, for tokens without context before them."""
        shape = self.model.shape
        tokens = WHOLE_STEP if shape.attention == "whole" else STEP
        tile = TILE if shape.attention in ("sparse", "compressed") else 0
        return round(tokens * BYTES[self.dtype] * self._numbers_of_token(shape)) + tile

    def _numbers_of_token(self, shape: Shape) -> float:
        """Return the numbers that a layer holds per token: residual stream and its widest part."""
        gpus, hidden = self.gpus, shape.hidden
        # With fp8 the inputs of experts are kept in two forms.
        forms = 2 if self.packed else 1
        experts = shape.chosen * forms * (shape.expert_width / gpus + hidden)
        widest = max(3 * shape.width / gpus, experts, 2 * shape.attended / gpus)
        return (5 if shape.experts else 4) * hidden * shape.streams + widest

    @property
    def graphs(self) -> int:
        """Bytes of CUDA graphs: of decode steps, and of steps with prompts."""
        if not self.recorded or self.model.shape.attention not in ("grouped", "latent"):
            return 0
        free = self.total - self.reserved - self.weights
        prompts = 2 * self.step * PROMPT_GRAPHS / STEP
        return DECODE_GRAPHS + round(max(min(prompts, GRAPHS_SHARE * free), 0))

    @property
    def steps(self) -> int:
        """Bytes of the largest step and of CUDA graphs."""
        return self._segments + self.graphs

    @property
    def _segments(self) -> int:
        """Bytes that the allocator reserves for the largest step."""
        return round(self.step * (1 if self.model.shape.attention == "whole" else SEGMENTS))

    @property
    def kept_free(self) -> int:
        """Bytes that the server leaves free."""
        return LATER + round(FRAGMENTS * self._segments)

    @cached_property
    def step_per_token(self) -> float:
        """Return the bytes by which a step grows with each token of context."""
        return WHOLE_STEP * PAIR * self.model.shape.compared

    @cached_property
    def cache(self) -> int:
        """Return the bytes for the caches of all requests, before a step grows with its context."""
        shape = self.model.shape
        free = self.total - self.reserved - self.weights
        fixed = REQUESTS * shape.cache_per_sequence * BYTES[self.dtype] // CACHED
        return max(int(free - self.steps - self.kept_free - fixed), 0)

    @cached_property
    def longest(self) -> int:
        """Return the tokens of the longest request that the cache holds, ignoring the model's limit."""
        return int(self.cache / (self.per_token + self.step_per_token))

    @cached_property
    def context(self) -> int:
        """Return the tokens of the longest request."""
        return min(self.longest, self.model.shape.context)

    def requests(self, context: int) -> int:
        """Return the number of concurrent requests of a length, up to the server's maximum."""
        tokens = (self.cache - context * self.step_per_token) / self.per_token
        most = WHOLE_REQUESTS if self.model.shape.attention == "whole" else REQUESTS
        return max(min(int(tokens // context), most), 0)
