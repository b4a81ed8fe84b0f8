"""Measurement of the GPU memory that steps and CUDA graphs need beside the cache.

The largest steps are run on a small cache. All sequences of such a step use the same blocks: their
results are wrong and unused, but need as much memory as correct ones.
"""

import gc
import math

import torch

from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.sampling.sampler import Sampler, SamplingStep
from deepseek_server.engine.types import Sampling
from deepseek_server.models.memory_budget import graphs_bytes
from deepseek_server.models.runners.cuda_graphs import sizes
from deepseek_server.models.runners.paged import PagedRunner

# A request that uses every feature of the sampler.
_DEMANDING = Sampling(
    max_tokens=1,
    top_p=0.9,
    top_k=50,
    min_p=0.01,
    presence_penalty=0.1,
    logit_bias=((0, 1.0),),
    logprobs=20,
)


def free_bytes() -> int:
    """Return the free bytes of this process's GPU, including unused memory of torch's allocator."""
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


def blocks_needed(max_num_batched_tokens: int, block_size: int) -> int:
    """Return the number of blocks of the small cache that `step_bytes` needs."""
    return 2 * -(-max_num_batched_tokens // block_size)


def largest_step(
    block_size: int, max_num_seqs: int, max_num_batched_tokens: int, context: int, start: int = 0
) -> list[Chunk]:
    """Return the step that needs the most memory: a decode token of most sequences, and prompts.

    Args:
        block_size: Tokens per block.
        max_num_seqs: Maximum number of sequences that run at once.
        max_num_batched_tokens: Tokens of the step.
        context: Tokens of the longest sequence.
        start: Tokens of each prompt that are already computed.
    """
    longest = context - start
    prompts = max(-(-max_num_batched_tokens // longest), 1)
    num_decode_tokens = max(min(max_num_seqs - prompts, max_num_batched_tokens - 2 * prompts), 0)
    chunks = [
        Chunk((0,), start=0, blocks=(0,), sample=True, request_index=index)
        for index in range(num_decode_tokens)
    ]
    left = max_num_batched_tokens - num_decode_tokens
    while left > 0 and len(chunks) < max_num_seqs:
        length = min(left, longest)
        blocks = tuple(range(-(-(start + length) // block_size)))
        chunks.append(Chunk((0,) * length, start, blocks, sample=True, request_index=len(chunks)))
        left -= length
    return chunks


def run(runner: PagedRunner, chunks: list[Chunk]) -> None:
    """Run a step, sample its tokens in the most demanding way, and wait for the device."""
    steps = [SamplingStep(_DEMANDING, seed=0, index=0, tokens=[0], prompt=1) for _ in chunks]
    tokens = Sampler(frozenset()).sample(runner.run(chunks), steps).tokens
    runner.store_sampled_tokens(tokens)
    torch.cuda.synchronize()


def step_bytes(runner: PagedRunner, max_num_batched_tokens: int, context: int) -> int:
    """Return the bytes that the largest step needs beside the cache, after the longest context.

    The memory of attention grows with the tokens before a step, at most linearly. So two
    consecutive steps are measured and the line through them is extrapolated.

    Args:
        runner: The runner, with a cache of `blocks_needed`, without graphs.
        max_num_batched_tokens: Tokens of the largest step.
        context: Tokens of the longest sequence.
    """
    starts = (0, min(max_num_batched_tokens, context // 2))
    first, second = (
        largest_step(runner.block_size, runner.max_num_seqs, max_num_batched_tokens, context, start)
        for start in starts
    )
    run(runner, first)  # warm-up: libraries load their kernels
    tensors, taken = _peaks(runner, first)
    more_tensors, _ = _peaks(runner, second)
    longest = at_context(context, (first[-1].end, tensors), (second[-1].end, more_tensors))
    return taken + longest - tensors


def at_context(context: int, first: tuple[int, int], second: tuple[int, int]) -> int:
    """Return the value at the longest context of the line through two measurements.

    Args:
        context: Tokens of the longest sequence.
        first: A number of tokens and the bytes measured there.
        second: The same for more tokens.
    """
    (tokens, measured), (more_tokens, more) = first, second
    growth = max(more - measured, 0) / max(more_tokens - tokens, 1)
    return math.ceil(measured + growth * max(context - tokens, 0))


def decode_graph_bytes(runner: PagedRunner) -> int:
    """Return the bytes that all graphs of decode steps will keep, estimated from two of them."""
    counts = sizes(runner.max_num_seqs)
    before = free_bytes()
    graphs = runner.capture_decode(counts[-1:])
    with_largest = free_bytes()
    graphs.capture(counts[:1])
    with_both = free_bytes()
    return graphs_bytes(before - with_largest, with_largest - with_both, len(counts))


def _peaks(runner: PagedRunner, chunks: list[Chunk]) -> tuple[int, int]:
    """Return the bytes of a step's tensors, and the bytes that the allocator reserves for them.

    The latter is larger: the allocator reserves whole segments, and tensors do not fill them.
    """
    free_bytes()
    torch.cuda.reset_peak_memory_stats()
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    run(runner, chunks)
    return (
        int(torch.cuda.max_memory_allocated() - allocated),
        int(torch.cuda.max_memory_reserved() - reserved),
    )
