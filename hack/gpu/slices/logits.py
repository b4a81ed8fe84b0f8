"""Logits of the same token sequences, by transformers' own model and by a runner of the server."""

import random
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from deepseek_server.engine.runner import Chunk, Runner

# Tokens of the prompts: around the size of a block, and more than an indexer selects.
PROMPTS = (1, 63, 64, 65, 200, 700, 3000)
# Number of compared logits of each row: after the prompt and after each further token.
STEPS = 16
Rows = Sequence[Sequence[int]]
JUDGED = ("lower_quartile", "root_mean_square")


def rows(vocabulary: int, lengths: Sequence[int] = PROMPTS) -> list[list[int]]:
    """Return reproducible random tokens: prompts with their continuations."""
    draw = random.Random(1)
    return [
        [draw.randrange(5, vocabulary) for _ in range(length + STEPS - 1)] for length in lengths
    ]


def of_model(model: PreTrainedModel, rows: Rows) -> list[torch.Tensor]:
    """Return the last logits of each row, computed one after the other: [STEPS, vocabulary]."""
    with torch.inference_mode():
        return [
            model(torch.tensor([row], device=model.device), logits_to_keep=STEPS)
            .logits[0]
            .float()
            .cpu()
            for row in rows
        ]


def of_runner(runner: Runner, rows: Rows) -> list[torch.Tensor]:
    """Return the same by a runner: prompts together in two chunks, then one token at a time."""
    kept: list[list[torch.Tensor]] = [[] for _ in rows]
    blocks = _blocks(runner, rows)

    def chunk(index: int, start: int, end: int, *, sample: bool) -> Chunk:
        return Chunk(tuple(rows[index][start:end]), start, blocks[index], sample, index)

    prompts = [len(row) - STEPS + 1 for row in rows]
    halves = [chunk(n, 0, length // 2, sample=False) for n, length in enumerate(prompts)]
    if began := [half for half in halves if len(half)]:
        runner.run(began)
    steps = [[chunk(n, p // 2, p, sample=True) for n, p in enumerate(prompts)]]
    steps += [
        [chunk(n, p + step - 1, p + step, sample=True) for n, p in enumerate(prompts)]
        for step in range(1, STEPS)
    ]
    for step in steps:
        for one, logits in zip(kept, runner.run(step), strict=True):
            one.append(logits.float().cpu())
    return [torch.stack(one) for one in kept]


def _blocks(runner: Runner, rows: Rows) -> list[tuple[int, ...]]:
    blocks, first = [], 0
    for row in rows:
        count = -(-len(row) // runner.block_size)
        blocks.append(tuple(range(first, first + count)))
        first += count
    return blocks


def errors(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the norm of each token's difference as a share of the norm of the expected logits."""
    ours, exact = torch.cat(list(found)), torch.cat(list(wanted))
    return (ours - exact).norm(dim=-1) / exact.norm(dim=-1)


def summary(errors: torch.Tensor) -> dict[str, float]:
    """Return figures of the tokens' errors; those in JUDGED decide the check."""
    return {
        "lower_quartile": _digits(errors.quantile(0.25)),
        "median": _digits(errors.median()),
        "root_mean_square": _digits(errors.square().mean().sqrt()),
        "largest": _digits(errors.max()),
    }


def greedy(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> dict[str, float]:
    """Return the share of equal greedy tokens, and the margins of the others.

    Random weights give logits with a standard deviation of 1, whose two largest are close together.
    """
    ours, exact = torch.cat(list(found)), torch.cat(list(wanted))
    chosen, best = ours.argmax(-1, keepdim=True), exact.argmax(-1, keepdim=True)
    lost = exact.gather(-1, best) - exact.gather(-1, chosen)
    return {
        "tokens": len(lost),
        "same": int((chosen == best).sum()),
        "largest_margin_of_others": _digits(lost.max()),
    }


def _digits(value: torch.Tensor) -> float:
    return float(f"{float(value):.4g}")
