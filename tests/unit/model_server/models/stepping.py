"""Helpers that drive a runner without an engine: sequences with scattered blocks, any chunks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from deepseek_server.attention.backend import create_attention
from deepseek_server.attention.base import CacheSize
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.engine.runner import Chunk, Runner
from deepseek_server.models.runners.paged import PagedRunner, heads_of
from hack.models.families import VOCABULARY


def prompt(length: int) -> list[int]:
    """Return random tokens, the same for the same length."""
    draw = torch.Generator().manual_seed(length)
    return torch.randint(4, VOCABULARY, (length,), generator=draw).tolist()


@dataclass
class Running:
    blocks: tuple[int, ...]
    tokens: list[int]
    request_index: int = 0
    prompt: int = field(init=False)
    computed: int = 0

    def __post_init__(self) -> None:
        self.prompt = len(self.tokens)

    @property
    def answer(self) -> list[int]:
        return self.tokens[self.prompt :]

    def chunk(self, size: int) -> Chunk:
        """Return the next chunk, of at most `size` tokens."""
        tokens = tuple(self.tokens[self.computed : self.computed + size])
        start, self.computed = self.computed, self.computed + len(tokens)
        sample = self.computed == len(self.tokens)
        return Chunk(tokens, start, self.blocks, sample, self.request_index)


def scattered(runner: Runner, prompts: Sequence[Sequence[int]], room: int) -> list[Running]:
    """Return sequences with blocks in random order, with room for answers of `room` tokens."""
    free = torch.randperm(runner.num_blocks, generator=torch.Generator().manual_seed(7)).tolist()
    sequences = []
    for index, prompt in enumerate(prompts):
        count = -(-(len(prompt) + room) // runner.block_size)
        sequences.append(Running(tuple(free[:count]), list(prompt), index))
        free = free[count:]
    return sequences


def step(runner: Runner, chunks: Sequence[tuple[Running, Chunk]]) -> None:
    """Run chunks and append the likeliest token to each sequence that samples."""
    logits = runner.run([chunk for _, chunk in chunks])
    sampling = [sequence for sequence, chunk in chunks if chunk.sample]
    for sequence, token in zip(sampling, logits.argmax(-1).tolist(), strict=True):
        sequence.tokens.append(token)


def load(directory: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def runner_of(model: PreTrainedModel, blocks: int = 64, block_size: int = 16) -> PagedRunner:
    size = CacheSize(model.config.num_hidden_layers, blocks, block_size)
    attention = create_attention(SdpaAttention, heads_of(model), size, model.dtype, model.device)
    return PagedRunner(model, attention, 8)


def generated(model: PreTrainedModel, prompt: Sequence[int], count: int) -> list[int]:
    """Return the greedy answer of `generate`."""
    model.generation_config = GenerationConfig()
    ids = torch.tensor([list(prompt)])
    config = GenerationConfig(max_new_tokens=count, do_sample=False)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return out[0, len(prompt) :].tolist()


def decoded_on_device(runner: Runner, sequences: Sequence[Running], count: int) -> list[list[int]]:
    """Return answers of `count` tokens, fed back on the device without a copy to the CPU."""
    logits = runner.run([sequence.chunk(1000) for sequence in sequences])
    found = [[token] for token in logits.argmax(-1).tolist()]
    for number in range(count - 1):
        runner.store_sampled_tokens(logits.argmax(-1))
        logits = runner.run(
            [
                Chunk(None, s.prompt + number, s.blocks, sample=True, request_index=s.request_index)
                for s in sequences
            ]
        )
        for answer, token in zip(found, logits.argmax(-1).tolist(), strict=True):
            answer.append(token)
    return found
