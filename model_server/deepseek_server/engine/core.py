"""The engine: continuous batching of requests, one step after the other.

`step` schedules, runs and postprocesses. On a GPU the steps overlap: while the device computes one,
the tokens of the previous one are returned and the next one is launched. The device then never waits
for this process; the price is one wasted token if an answer ends at a token that could not be
predicted.

This module is independent of threads, processes, text and clients.
"""

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from deepseek_server.engine.arrival import AsyncCopy
from deepseek_server.engine.block_manager import BlockManager
from deepseek_server.engine.histogram import Steps
from deepseek_server.engine.ipc import Failure, Result, Token
from deepseek_server.engine.runner import Chunk, Runner
from deepseek_server.engine.sampling.parameters import Parameters
from deepseek_server.engine.sampling.sampler import Sampler, SamplerOutput, SamplingStep
from deepseek_server.engine.scheduler import Scheduler, StepLimits
from deepseek_server.engine.sequence import Sequence
from deepseek_server.engine.types import EngineError, FinishReason, Load, Logprobs, Request, Totals

log = logging.getLogger(__name__)


class Matcher(Protocol):
    """State of an answer in its grammar."""

    @property
    def finished(self) -> bool:
        """Whether the answer is complete and nothing may follow."""

    def mask(self) -> NDArray[np.int32]:
        """Return the tokens that may follow, packed as in engine.sampling.bitmask."""

    def accept(self, token: int) -> None:
        """Advance by a token."""


class Grammars(Protocol):
    """Factory of matchers."""

    def matcher(self, grammar: str) -> Matcher:
        """Return a matcher for a new answer."""


class DeviceLostError(Exception):
    """No later step can succeed in this process."""


class _LiveSequence(Sequence):
    """A sequence with its seed, its matcher and its end tokens."""

    def __init__(self, request: Request, eos: frozenset[int], matcher: Matcher | None) -> None:
        super().__init__(request)
        sampling = request.sampling
        self.seed = sampling.seed or 0
        self.matcher = matcher
        self.arrived = time.monotonic()
        self.queued = -1.0  # seconds until its first step
        self._eos = frozenset() if sampling.ignore_eos else eos
        self._eos |= frozenset(sampling.stop_token_ids)
        self._min_tokens, self._max_tokens = sampling.min_tokens, sampling.max_tokens

    @property
    def sampling_step(self) -> SamplingStep:
        mask = None if self.matcher is None else self.matcher.mask()
        # The chunk already counts as computed.
        index = self.generated - 1
        return SamplingStep(
            self.request.sampling, self.seed, index, self.tokens, len(self.request.prompt), mask
        )

    def push(self, token: int) -> FinishReason | None:
        """Append a token that has become known; return the finish reason if it is the last one."""
        self.tokens.append(token)
        self.num_unresolved_tokens -= 1
        count = len(self.tokens) - len(self.request.prompt)
        if token in self._eos and count > self._min_tokens:
            return "stop"
        if count >= self._max_tokens:
            return "length"
        if self.matcher is not None:
            self.matcher.accept(token)
            if self.matcher.finished and not self._eos:
                return "length"  # no end token could follow
        return None


@dataclass(frozen=True)
class _StepInFlight:
    """A step in flight.

    Attributes:
        plan: the sequences and chunks that it computes.
        sampling_sequences: the sequences that get a token, in the order of the tokens.
        async_output: the sampled tokens on their way to the CPU; None if none are sampled.
        launched: time of the launch.
    """

    plan: list[tuple[_LiveSequence, Chunk]]
    sampling_sequences: list[_LiveSequence]
    async_output: AsyncCopy | None
    launched: float


class Core:
    """An engine with continuous batching.

    Args:
        runner: the model and its cache.
        eos_token_ids: the model's end tokens.
        limits: the limits of one step.
        grammars: the factory of matchers; None if grammars are not supported.
        fragile: whether a failed step leaves other processes hanging, so that any error ends the
            engine.
    """

    def __init__(
        self,
        runner: Runner,
        eos_token_ids: frozenset[int],
        limits: StepLimits,
        grammars: Grammars | None = None,
        *,
        fragile: bool = False,
    ) -> None:
        self._runner, self._eos, self._grammars = runner, eos_token_ids, grammars
        self._sampler = Sampler(eos_token_ids)
        self._blocks = BlockManager(
            runner.num_blocks, runner.block_size, shares=runner.shares_prefixes
        )
        self._scheduler: Scheduler[_LiveSequence] = Scheduler(self._blocks, limits)
        self._live: dict[str, _LiveSequence] = {}
        self._in_flight: deque[_StepInFlight] = deque()
        self._overlapping_steps = 1 if runner.overlap_scheduling else 0
        self._sampling_sequences: list[_LiveSequence] = []
        self._parameters: Parameters | None = None
        self._fragile = fragile
        self._steps = Steps()
        self._postprocessed_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether a step would have nothing to do."""
        return not self._live and not self._in_flight

    @property
    def load(self) -> Load:
        """The current load."""
        scheduler = self._scheduler
        return Load(len(scheduler.running), len(scheduler.waiting), self._blocks.use)

    @property
    def totals(self) -> Totals:
        """The totals since the start."""
        scheduler = self._scheduler
        return Totals(
            scheduler.prompt_tokens,
            scheduler.prompt_tokens_found,
            scheduler.preemptions,
            self._steps.seconds.distribution,
            self._steps.tokens.distribution,
            self._steps.sequences.distribution,
        )

    def add(self, request: Request) -> None:
        """Queue a request, which must fit into the KV cache if it is alone.

        Raises:
            EngineError: its grammar is invalid, or the engine does not support grammars.
        """
        matcher = None
        if request.sampling.grammar:
            if self._grammars is None:
                raise EngineError("this engine does not support grammars")
            matcher = self._grammars.matcher(request.sampling.grammar)
        sequence = _LiveSequence(request, self._eos, matcher)
        self._live[request.id] = sequence
        self._scheduler.add(sequence)

    def cancel(self, request_id: str) -> None:
        """Remove a request; no effect if it has ended."""
        sequence = self._live.pop(request_id, None)
        if sequence is not None:
            self._scheduler.remove(sequence)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed here
    def step(self) -> list[Result]:
        """Launch the next step, and return the results of the oldest one in flight.

        Raises:
            DeviceLostError: no later step can succeed in this process.
        """
        plan = self._scheduler.schedule()
        try:
            if plan:
                self._in_flight.append(self._launch(plan))
            if self._in_flight and (len(self._in_flight) > self._overlapping_steps or not plan):
                results = self._postprocess(self._in_flight[0])
                self._in_flight.popleft()
                return results
            return []
        except Exception as error:
            return self._fail(plan, error)

    def _launch(self, plan: list[tuple[_LiveSequence, Chunk]]) -> _StepInFlight:
        now = time.monotonic()
        for sequence, _ in plan:
            if sequence.queued < 0:
                sequence.queued = now - sequence.arrived
        logits = self._runner.run([chunk for _, chunk in plan])
        sampling_sequences = [sequence for sequence, chunk in plan if chunk.sample]
        if not sampling_sequences:
            return _StepInFlight(plan, sampling_sequences, None, now)
        output = self._sample(logits, sampling_sequences)
        self._runner.store_sampled_tokens(output.tokens)
        return _StepInFlight(plan, sampling_sequences, AsyncCopy(*_tensors(output)), now)

    def _sample(
        self, logits: torch.Tensor, sampling_sequences: list[_LiveSequence]
    ) -> SamplerOutput:
        if sampling_sequences != self._sampling_sequences:
            samplings = [sequence.request.sampling for sequence in sampling_sequences]
            self._parameters = self._sampler.parameters(samplings, logits.shape[1], logits.device)
            self._sampling_sequences = sampling_sequences
        steps = [sequence.sampling_step for sequence in sampling_sequences]
        return self._sampler.sample(logits, steps, self._parameters)

    def _postprocess(self, flight: _StepInFlight) -> list[Result]:
        """Append a token to each sequence, and remove those that are complete."""
        tokens, details = _await_tokens(flight.async_output)
        results: list[Result] = []
        ended: list[_LiveSequence] = []
        for row, (sequence, token) in enumerate(
            zip(flight.sampling_sequences, tokens, strict=True)
        ):
            request = sequence.request
            is_live = self._live.get(request.id) is sequence
            try:
                reason = sequence.push(token)
            except EngineError as error:  # a grammar failed, which only affects this request
                if is_live:
                    results.append(Failure(request.id, str(error)))
                    ended.append(sequence)
                continue
            if not is_live:
                continue  # cancelled or ended while the step was in flight
            logprobs = _logprobs(request.sampling.logprobs, row, *details) if details else None
            results.append(
                Token(
                    request.id,
                    token,
                    reason,
                    sequence.num_cached_tokens or 0,
                    logprobs,
                    sequence.queued,
                )
            )
            if reason is not None:
                ended.append(sequence)
        for sequence, chunk in flight.plan:
            self._scheduler.postprocess(sequence, chunk)
        for sequence in ended:
            self.cancel(sequence.request.id)
        self._record(flight)
        return results

    def _record(self, flight: _StepInFlight) -> None:
        """Count a step; its duration starts when the previous step was done, if that is later."""
        now = time.monotonic()
        seconds = now - max(flight.launched, self._postprocessed_at)
        self._postprocessed_at = now
        tokens = sum(len(chunk) for _, chunk in flight.plan)
        self._steps.record(seconds, tokens, len(flight.plan))

    def _fail(self, plan: list[tuple[_LiveSequence, Chunk]], error: Exception) -> list[Result]:
        """Fail the requests of all steps in flight."""
        reason = f"generation failed: {type(error).__name__}: {error}"
        if self._fragile or _device_is_lost(error):
            raise DeviceLostError(reason) from error
        concerned = [sequence for sequence, _ in plan]
        for flight in self._in_flight:
            concerned += [sequence for sequence, _ in flight.plan]
        self._in_flight.clear()
        log.error("a step with %d requests failed", len(concerned), exc_info=error)
        failures: dict[str, Result] = {}
        for sequence in concerned:
            request_id = sequence.request.id
            if request_id in self._live:
                failures[request_id] = Failure(request_id, reason)
                self.cancel(request_id)
        return list(failures.values())


def _tensors(output: SamplerOutput) -> tuple[torch.Tensor, ...]:
    """Return the sampled tensors, in `_logprobs` order."""
    if output.logprobs is None or output.top_logprobs is None or output.top_tokens is None:
        return (output.tokens,)
    return output.tokens, output.logprobs, output.top_logprobs, output.top_tokens


def _await_tokens(async_output: AsyncCopy | None) -> tuple[list[int], tuple[torch.Tensor, ...]]:
    """Wait for the sampled tokens and return them with the log probability tensors, if any."""
    if async_output is None:
        return [], ()
    tokens, *details = async_output.wait()
    return tokens.tolist(), tuple(details)


def _logprobs(
    count: int | None, row: int, chosen: torch.Tensor, top: torch.Tensor, ids: torch.Tensor
) -> Logprobs | None:
    """Return the log probabilities of one row's token, if requested."""
    if count is None:
        return None
    best = zip(ids[row, :count].tolist(), top[row, :count].tolist(), strict=True)
    return Logprobs(float(chosen[row]), tuple(best))


def _device_is_lost(error: Exception) -> bool:
    """Return whether no later step can succeed in this process.

    An asynchronous CUDA error breaks the context permanently; running out of memory does not.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return False
    accelerator_error = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator_error) or "CUDA error" in str(error)
