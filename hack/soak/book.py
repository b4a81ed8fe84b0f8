"""Prompts with known answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from benchmarks.server.progress import bar
from hack.models.families import VOCABULARY

SPECIAL = 4  # number of special tokens, which are the first ids
SHARED = (0, 0, 90, 210)  # lengths of the prefix that prompts share
LONGEST = 600
PENALTY = 1.3  # repetition penalty


@dataclass(frozen=True)
class Entry:
    """A prompt, its greedy answer, and its answer with a repetition penalty."""

    prompt: list[int]
    answer: list[int]
    penalised: list[int]


def tokens(random: Random, count: int) -> list[int]:
    """Return random tokens."""
    return [random.randrange(SPECIAL, VOCABULARY) for _ in range(count)]


def write(model: Path, random: Random, prompts: int, length: int) -> list[Entry]:
    """Return prompts with the answers of transformers.

    Args:
        model: the directory of the model.
        random: source of the prompts.
        prompts: number of prompts.
        length: tokens of each answer.
    """
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    loaded.generation_config = GenerationConfig()
    shared = tokens(random, max(SHARED))

    def answer(prompt: list[int], **wishes: float) -> list[int]:
        ids = torch.tensor([prompt])
        config = GenerationConfig(max_new_tokens=length, do_sample=False, **wishes)
        out = loaded.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        found: list[int] = out[0, len(prompt) :].tolist()
        return found

    entries = []
    with bar("answers of transformers", prompts, "prompt") as step:
        for number in range(prompts):
            prompt = shared[: SHARED[number % len(SHARED)]]
            prompt = prompt + tokens(random, random.randint(1, LONGEST - len(prompt)))
            entries.append(
                Entry(prompt, answer(prompt), answer(prompt, repetition_penalty=PENALTY))
            )
            step(1)
    return entries
