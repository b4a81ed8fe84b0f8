"""`python -m hack.gpu.slices` works before it goes to a GPU, and its checks can fail."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.server.model import profiles
from benchmarks.server.model.make_model import write_model
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.types import Logprobs
from deepseek_server.kernels import launcher
from deepseek_server.models.layers import fp8_modules
from hack.gpu.slices import __main__ as slices
from hack.gpu.slices import answers, checks, logits, reference, unpacked
from hack.gpu.slices.answers import Answer, Watched, agreement
from hack.gpu.slices.checks import CHECKS, Slice
from hack.gpu.slices.start import Started, start
from hack.models import packing

FAMILIES = (
    "v3-tiny",
    "v3.2-tiny",
    # Half a minute each, and similar.
    *(pytest.param(name, marks=pytest.mark.long) for name in ("v2-tiny", "llama-tiny", "v4-tiny")),
)
ROWS = logits.rows(2048, (1, 65, 200))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("slices")

    def make(profile: str) -> Path:
        if not (root / profile).exists():
            write_model(profiles.configuration(profile), root / profile)
        return root / profile

    return make


@pytest.fixture(scope="module")
def started(directory: Callable[[str], Path]) -> Started:
    return start(directory("v3-tiny"), "cpu")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LENGTHS", (1, 17, 300))
    monkeypatch.setattr(logits, "PROMPTS", (1, 65, 200))


@pytest.mark.parametrize("profile", FAMILIES)
def test_every_family_passes_on_a_cpu(
    directory: Callable[[str], Path],
    profile: str,
    short: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = str(directory(profile))
    slices.main(["--device", "cpu", "--profile", profile, "--directory", where, "--context", "600"])
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == []
    assert set(found["checks"]) == {"start", *CHECKS, "reference", "memory"}
    assert found["checks"]["start"]["seconds"]["total"] > 0
    assert found["checks"]["mixed batch"]["same"] == 3


@pytest.fixture
def in_eight_bits(directory: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Started:
    """Start a model in fp8 on the CPU, with the reference of the kernels."""
    monkeypatch.setattr(fp8_modules, "native", lambda device: True)
    monkeypatch.setattr(launcher, "provide", lambda: True)
    return start(directory("v3-tiny"), "cpu")


def test_the_format_explains_the_error_of_fp8_products(
    directory: Callable[[str], Path], in_eight_bits: Started
) -> None:
    packed = in_eight_bits.packed
    assert any("experts" in path for path in packed)
    ours = logits.of_runner(in_eight_bits.runner, ROWS)
    found = reference.compare(directory("v3-tiny"), "cpu", ROWS, ours, packed)
    assert found["passed"], found
    assert found["error"]["lower_quartile"] > 0.01
    scale = in_eight_bits.runner._model.model.layers[1].mlp.experts.down_proj_scale_inv
    with torch.no_grad():
        scale *= 4
    ours = logits.of_runner(in_eight_bits.runner, ROWS)
    assert not reference.compare(directory("v3-tiny"), "cpu", ROWS, ours, packed)["passed"]


def test_inputs_are_rounded_as_the_server_rounds_them(
    directory: Callable[[str], Path], in_eight_bits: Started
) -> None:
    """Compare a token whose activations are not close to a rounding boundary."""
    rows = [row[: logits.STEPS] for row in ROWS]
    model = reference._load(directory("v3-tiny"), "cpu")
    reference.round_inputs(model, in_eight_bits.packed, powers=False)
    ours = logits.of_runner(in_eight_bits.runner, rows)
    errors = logits.errors(ours, logits.of_model(model, rows))
    assert float(errors.quantile(0.25)) < 1e-5


def test_detects_a_wrong_weight(directory: Callable[[str], Path], started: Started) -> None:
    ours = logits.of_runner(started.runner, ROWS)
    assert reference.compare(directory("v3-tiny"), "cpu", ROWS, ours, [])["passed"]
    norm = started.runner._model.model.layers[2].self_attn.kv_a_layernorm.weight
    with torch.no_grad():
        norm *= 1.1
    try:
        ours = logits.of_runner(started.runner, ROWS)
    finally:
        with torch.no_grad():
            norm /= 1.1
    assert not reference.compare(directory("v3-tiny"), "cpu", ROWS, ours, [])["passed"]


class Broken(Watched):
    """A runner with wrong results for chunks that are not alone in an empty cache.

    Args:
        runner: A correct runner.
        wrong: Returns whether the result of a chunk of a step has to be wrong.
    """

    def __init__(self, runner: Any, wrong: Callable[[Sequence[Chunk], Chunk], bool]) -> None:
        super().__init__(runner)
        self._wrong = wrong

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Replace a token of the prompt where the result has to be wrong."""
        return super().run([self._change(chunks, chunk) for chunk in chunks])

    def _change(self, chunks: Sequence[Chunk], chunk: Chunk) -> Chunk:
        if not self._wrong(chunks, chunk):
            return chunk
        assert chunk.tokens is not None
        return replace(chunk, tokens=tuple(token ^ 1 for token in chunk.tokens))


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("mixed batch", lambda chunks, chunk: len(chunks) > 1),
        ("prefix hits", lambda chunks, chunk: chunk.start and 1 < len(chunk) < 170),
        ("preemption", lambda chunks, chunk: len(chunk) > 24),
        ("long context", lambda chunks, chunk: chunk.start and len(chunk) > 1),
    ],
)
def test_detects_wrong_results(
    started: Started, short: None, check: str, wrong: Callable[[Sequence[Chunk], Chunk], bool]
) -> None:
    right = Slice(Watched(started.runner), 2048, started.max_num_batched_tokens, 600, 1e-3)
    assert CHECKS[check](right)["passed"]
    found = CHECKS[check](replace(right, runner=Broken(started.runner, wrong)))
    assert not found["passed"], found


def test_a_context_larger_than_the_cache_fails(started: Started) -> None:
    small = Watched(started.runner, blocks=4)
    found = checks.long_context(Slice(small, 2048, 512, 600, 1e-3))
    assert not found["passed"]
    assert found["error"] == "the cache holds 64 of 600 tokens"


def one(*worth: float, tokens: Sequence[int] = (), top: tuple[tuple[int, float], ...] = ()):
    tokens = list(tokens or range(len(worth)))
    return Answer(tokens, [Logprobs(value, top) for value in worth])


def test_answers_that_diverge_at_a_near_tie_agree() -> None:
    wanted = {"a": one(-3.0, -2.0, -1.0, tokens=(5, 6, 7))}
    tie = {"a": one(-3.0, -1.99, -9.0, tokens=(5, 8, 9), top=((6, -2.01),))}
    found = agreement(wanted, tie, allowed=0.05)
    assert found["passed"]
    assert (found["same"], found["tokens_compared"]) == (0, 2)
    assert not agreement(wanted, tie, allowed=0.005)["passed"]
    elsewhere = {"a": one(-3.0, -1.99, -9.0, tokens=(5, 8, 9))}
    assert not agreement(wanted, elsewhere, allowed=0.05)["passed"]


def test_detects_tokens_with_other_log_probabilities() -> None:
    wanted = {str(number): one(-1.0) for number in range(40)}
    assert agreement(wanted, wanted, allowed=0.5)["passed"]
    for worth in (-2.0, math.nan):
        found = agreement(wanted, wanted | {"1": one(worth), "2": one(worth), "3": one(worth)}, 0.5)
        assert not found["passed"]
    parted = {str(number): one(-1.0, tokens=[9]) for number in range(6)}
    assert agreement(wanted, wanted | {"0": parted["0"]}, allowed=0.5)["lost"] == ["0"]
    assert agreement(wanted, wanted | {"0": parted["0"]}, allowed=0.5)["passed"]
    few = {name: wanted[name] for name in parted}
    assert not agreement(few, few | {"0": parted["0"]}, allowed=0.5)["passed"]


@given(st.integers(1, 300), st.integers(1, 300))
def test_weights_are_dequantised_block_by_block(rows: int, columns: int) -> None:
    numbers, factors = packing._quantise(torch.randn(rows, columns), powers=False)
    assert torch.equal(unpacked.whole(numbers, factors), packing._whole(numbers, factors))


def test_an_engine_that_does_not_start_is_a_failed_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_model(profiles.configuration("llama-tiny", 1), tmp_path)
    (directory / "model.safetensors").write_bytes(b"")
    with pytest.raises(SystemExit, match="failed: start, memory"):
        slices.main(["--device", "cpu", "--profile", "llama-tiny", "--directory", str(directory)])
    found = json.loads(capsys.readouterr().out)
    assert "PermanentError" in found["checks"]["start"]["error"]
    assert "reference" not in found["checks"]


def test_engine_and_runner_give_the_same_answers(started: Started) -> None:
    """Compare the greedy answers of an engine with those of its runner."""
    asked = answers.prompts(2048, [20])
    (found,) = answers.answer(answers.engine(started.runner, checks.MIXED), asked, 3).values()
    prompt = next(iter(asked.values()))
    row = [*prompt, *found.tokens, *([5] * (logits.STEPS - 4))]
    (expected,) = logits.of_runner(started.runner, [row])
    assert found.tokens == expected[:3].argmax(-1).tolist()
