"""The plainest correct engine: transformers' `generate`, one request after the other.

A worker thread takes requests in the order of their arrival. `generate` asks its stopping criteria
after each token, and ours does everything there that makes an answer: it turns the token into
text, hands it to the event loop, and says whether to go on. So a token reaches the client before
the next one is computed, and cancelling takes one step.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from deepseek_server.engine.answer import Answer
from deepseek_server.engine.interface import (
    EngineClosedError,
    EngineError,
    Limits,
    Load,
    Output,
    QueueFullError,
    Request,
    Sampling,
    Totals,
)
from deepseek_server.engine.stream import Mail, Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Sequence:
    """A request on its way, and the stream that its client reads."""

    request: Request
    stream: Stream = field(default_factory=Stream)

    def emit(self, output: Output | EngineError) -> None:
        mail = Mail()
        mail.add(self.stream, output)
        mail.send()


class _AnswerCriteria(StoppingCriteria):  # type: ignore[misc]  # not typed
    """Makes outputs of the tokens of one sequence as `generate` finds them."""

    def __init__(self, sequence: _Sequence, answer: Answer) -> None:
        self._sequence, self._answer = sequence, answer
        self._done = False

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        # On a GPU `generate` may look at the answer one step late: what comes after is dropped.
        if not self._done and not self._sequence.stream.cancelled:
            output = self._answer.push(int(input_ids[0, -1]))
            self._done = output.finish_reason is not None
            self._sequence.emit(output)
        done = self._done or self._sequence.stream.cancelled
        return torch.full((1,), done, device=input_ids.device, dtype=torch.bool)


class GenerateEngine:
    """Serves one sequence at a time with `model.generate`.

    Args:
        model: a causal language model, loaded and on its device.
        decode: token ids to text, without special tokens.
        eos_token_ids: the tokens that end an answer.
        limits: the context and how many requests may wait.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        decode: Callable[[Sequence[int]], str],
        eos_token_ids: frozenset[int],
        limits: Limits,
    ) -> None:
        self._model, self._decode, self._eos = model, decode, eos_token_ids
        self._limits = limits
        # Requests say everything; `generate` must not fill gaps from the checkpoint's defaults.
        self._model.generation_config = GenerationConfig()
        self._wake = threading.Condition()
        self._waiting: deque[_Sequence] = deque()
        self._running: _Sequence | None = None
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    @property
    def limits(self) -> Limits:
        """The context and the bound of the queue."""
        return self._limits

    @property
    def load(self) -> Load:
        """At most one request runs."""
        with self._wake:
            self._drop_cancelled()
            return Load(running=int(self._running is not None), waiting=len(self._waiting))

    @property
    def totals(self) -> Totals:
        """There is no cache to speak of."""
        return Totals()

    @property
    def alive(self) -> bool:
        """Whether the worker thread still runs, or was ended on purpose."""
        return self._closed or self._worker.is_alive()

    def submit(self, request: Request) -> Stream:
        """Queue a request; see Engine.submit."""
        sequence = _Sequence(request)
        with self._wake:
            if self._closed:
                raise EngineClosedError("the server is shutting down")
            self._drop_cancelled()
            if len(self._waiting) >= self._limits.waiting:
                raise QueueFullError(f"{len(self._waiting)} requests wait already")
            self._waiting.append(sequence)
            self._wake.notify()
        return sequence.stream

    async def close(self) -> None:
        """End everything; the worker ends with the step it is in."""
        with self._wake:
            self._closed = True
            unfinished = [*self._waiting]
            if self._running is not None:
                unfinished.append(self._running)
            self._waiting.clear()
            self._wake.notify()
        for sequence in unfinished:
            if not sequence.stream.cancelled:
                sequence.stream.cancel()
                sequence.emit(EngineClosedError("the server is shutting down"))
        await asyncio.to_thread(self._worker.join, 5)

    def _drop_cancelled(self) -> None:
        """A client that is gone must not hold a place in the queue. Called with the lock held."""
        if any(sequence.stream.cancelled for sequence in self._waiting):
            self._waiting = deque(s for s in self._waiting if not s.stream.cancelled)

    def _work(self) -> None:
        while (sequence := self._next()) is not None:
            try:
                self._generate(sequence)
            except Exception as error:  # a fault of one request must not end the server
                log.exception("request %s failed", sequence.request.id)
                sequence.emit(EngineError(f"generation failed: {type(error).__name__}: {error}"))
            finally:
                with self._wake:
                    self._running = None

    def _next(self) -> _Sequence | None:
        """The sequence to run now; waits for one; None when closed."""
        with self._wake:
            while not self._closed:
                self._drop_cancelled()
                if self._waiting:
                    self._running = self._waiting.popleft()
                    return self._running
                self._wake.wait()
            return None

    def _generate(self, sequence: _Sequence) -> None:
        request, sampling = sequence.request, sequence.request.sampling
        # The global generator is safe to seed: only this thread draws from it.
        if sampling.seed is None:
            torch.seed()
        else:
            torch.manual_seed(sampling.seed)
        prompt = torch.tensor([request.prompt], device=self._model.device)
        criteria = _AnswerCriteria(sequence, Answer(sampling, self._decode, self._eos))
        self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=_generation_config(sampling),
            logits_processor=self._processors(len(request.prompt), sampling),
            stopping_criteria=StoppingCriteriaList([criteria]),
        )

    def _processors(self, prompt_length: int, sampling: Sampling) -> LogitsProcessorList:
        processors = LogitsProcessorList()
        if sampling.min_tokens and self._eos and not sampling.ignore_eos:
            processors.append(
                MinNewTokensLengthLogitsProcessor(
                    prompt_length,
                    sampling.min_tokens,
                    sorted(self._eos),
                    device=str(self._model.device),
                )
            )
        return processors


def _generation_config(sampling: Sampling) -> GenerationConfig:
    """The end is decided by our criteria, so no end token is named here."""
    choice: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        choice = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
        }
    return GenerationConfig(max_new_tokens=sampling.max_tokens, use_cache=True, **choice)
