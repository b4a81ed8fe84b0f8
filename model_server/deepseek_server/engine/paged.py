"""The engine for models with a paged cache: all requests advance together, step by step.

One thread owns the scheduler and the model. The event loop hands requests in and takes outputs
out; between the two there is one lock, held only while the state changes, never while the model
computes.
"""

import asyncio
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace

import torch

from deepseek_server.engine.answer import Answer
from deepseek_server.engine.blocks import BlockManager
from deepseek_server.engine.interface import (
    EngineClosedError,
    EngineError,
    Limits,
    Load,
    QueueFullError,
    Request,
    Totals,
)
from deepseek_server.engine.sampler import Draw, Sampler
from deepseek_server.engine.scheduler import Scheduler
from deepseek_server.engine.sequence import Sequence
from deepseek_server.engine.step import Chunk, Runner
from deepseek_server.engine.stream import Mail, Stream

log = logging.getLogger(__name__)

CLOSING_SECONDS = 5


class _Live(Sequence):
    """A sequence with its answer, the numbers it draws, and the stream that its client reads."""

    def __init__(self, request: Request, answer: Answer) -> None:
        super().__init__(request)
        self.answer, self.stream = answer, Stream()
        seed = request.sampling.seed
        self._seed = secrets.randbits(64) if seed is None else seed

    @property
    def draw(self) -> Draw:
        prompt = len(self.request.prompt)
        return Draw(self.request.sampling, self._seed, self.generated, self.tokens, prompt)


_Plan = list[tuple[_Live, Chunk]]


class PagedEngine:
    """Continuous batching over a paged cache.

    Args:
        runner: the model and its cache.
        decode: token ids to text, without special tokens.
        eos_token_ids: the tokens that end an answer.
        limits: the context, which is cut to what the cache can hold, and how many requests may
            wait beyond those that run.
        token_budget: tokens that one step computes at most.
        max_sequences: requests that run at once at most.
    """

    def __init__(
        self,
        runner: Runner,
        decode: Callable[[Many[int]], str],
        eos_token_ids: frozenset[int],
        limits: Limits,
        *,
        token_budget: int,
        max_sequences: int,
    ) -> None:
        self._runner, self._decode, self._eos = runner, decode, eos_token_ids
        room = runner.num_blocks * runner.block_size
        self._limits = replace(limits, context=min(limits.context, room))
        self._blocks = BlockManager(runner.num_blocks, runner.block_size)
        self._scheduler: Scheduler[_Live] = Scheduler(
            self._blocks, token_budget=token_budget, max_sequences=max_sequences
        )
        self._max_sequences = max_sequences
        self._sampler = Sampler(eos_token_ids)
        self._wake = threading.Condition()
        self._arrived: deque[_Live] = deque()
        self._closed = False
        self._fault: EngineError | None = None
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    @property
    def limits(self) -> Limits:
        """The context and the bound of the queue."""
        return self._limits

    @property
    def load(self) -> Load:
        """Requests whose client is gone do not count, even where the next step drops them only."""
        with self._wake:
            running = sum(not s.stream.cancelled for s in self._scheduler.running)
            waiting = sum(not s.stream.cancelled for s in self._queue())
            return Load(running, waiting, self._blocks.use)

    @property
    def totals(self) -> Totals:
        """What the scheduler has counted."""
        scheduler = self._scheduler
        return Totals(scheduler.prompt_tokens, scheduler.prompt_tokens_found, scheduler.preemptions)

    @property
    def alive(self) -> bool:
        """Whether steps are still made, or the engine was closed on purpose."""
        return self._closed or (self._fault is None and self._worker.is_alive())

    def submit(self, request: Request) -> Stream:
        """Queue a request; see Engine.submit."""
        sequence = _Live(request, Answer(request.sampling, self._decode, self._eos))
        with self._wake:
            if self._closed:
                raise EngineClosedError("the server is shutting down")
            if self._fault is not None:
                raise EngineClosedError(str(self._fault))
            queue = [s for s in self._queue() if not s.stream.cancelled]
            places = self._max_sequences - len(self._scheduler.running)
            if len(queue) - places >= self._limits.waiting:
                raise QueueFullError(f"{len(queue)} requests wait already")
            self._arrived.append(sequence)
            self._wake.notify()
        return sequence.stream

    async def close(self) -> None:
        """End everything; the thread ends with the step it is in."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._end_all(EngineClosedError("the server is shutting down"))
        await asyncio.to_thread(self._worker.join, CLOSING_SECONDS)

    def _work(self) -> None:
        while (plan := self._schedule()) is not None:
            try:
                self._step(plan)
            except Exception as error:  # a fault of one step must not end the server
                log.exception("a step with %d requests failed", len(plan))
                self._fail(plan, error)

    def _step(self, plan: _Plan) -> None:
        """Compute what was scheduled, choose tokens, and hand out what they make."""
        logits = self._runner.run([chunk for _, chunk in plan])
        choosing = [sequence for sequence, chunk in plan if chunk.sample]
        draws = [sequence.draw for sequence in choosing]
        tokens = self._sampler.sample(logits, draws).tokens.tolist() if draws else []
        self._account(plan)
        self._deliver(choosing, tokens)

    def _schedule(self) -> _Plan | None:
        """The next step; waits until there is something to do; None when closed."""
        with self._wake:
            while not self._closed and self._fault is None:
                self._drop_cancelled()
                while self._arrived:
                    self._scheduler.add(self._arrived.popleft())
                if plan := self._scheduler.schedule():
                    return plan
                self._wake.wait()
            return None

    def _account(self, plan: _Plan) -> None:
        with self._wake:
            for sequence, chunk in plan:
                self._scheduler.computed(sequence, chunk)

    def _deliver(self, sequences: Many[_Live], tokens: Many[int]) -> None:
        """Add a token to each sequence, tell its reader, and let go of those that are complete."""
        mail, ended = Mail(), []
        for sequence, token in zip(sequences, tokens, strict=True):
            sequence.tokens.append(token)
            if sequence.stream.cancelled:
                continue
            try:
                output = sequence.answer.push(token, sequence.cached or 0)
            except Exception as error:  # text that cannot be decoded concerns nobody else
                log.exception("request %s failed", sequence.request.id)
                mail.add(sequence.stream, _failure(error))
                ended.append(sequence)
                continue
            mail.add(sequence.stream, output)
            if output.finish_reason is not None:
                ended.append(sequence)
        self._forget(ended)
        mail.send()

    def _fail(self, plan: _Plan, error: Exception) -> None:
        """End the requests of a step that failed, or all if the device is of no use any more."""
        if _device_is_lost(error):
            with self._wake:
                self._fault = _failure(error)
            self._end_all(_failure(error))
            return
        mail = Mail()
        for sequence, _ in plan:
            mail.add(sequence.stream, _failure(error))
        self._forget([sequence for sequence, _ in plan])
        mail.send()

    def _end_all(self, error: EngineError) -> None:
        mail = Mail()
        with self._wake:
            unfinished = [*self._scheduler.running, *self._queue()]
            self._arrived.clear()
            for sequence in unfinished:
                self._scheduler.remove(sequence)
                if not sequence.stream.cancelled:
                    mail.add(sequence.stream, error)
                    sequence.stream.cancel()  # the step that still runs adds nothing
        mail.send()

    def _forget(self, sequences: Many[_Live]) -> None:
        with self._wake:
            for sequence in sequences:
                self._scheduler.remove(sequence)

    def _drop_cancelled(self) -> None:
        """Free what clients have left behind. Called with the lock held."""
        for sequence in [*self._scheduler.running, *self._scheduler.waiting]:
            if sequence.stream.cancelled:
                self._scheduler.remove(sequence)

    def _queue(self) -> list[_Live]:
        """All that wait. Called with the lock held."""
        return [*self._scheduler.waiting, *self._arrived]


def _failure(error: Exception) -> EngineError:
    return EngineError(f"generation failed: {type(error).__name__}: {error}")


def _device_is_lost(error: Exception) -> bool:
    """Whether no later step can succeed in this process.

    After an asynchronous CUDA error the context is broken for good; running out of memory is not
    one of those.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return False
    accelerator_error = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator_error) or "CUDA error" in str(error)
