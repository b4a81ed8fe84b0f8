"""From the tokens of one answer to its outputs: the text they add, and whether the answer ends."""

from collections.abc import Callable, Sequence

from deepseek_server.engine.interface import FinishReason, Output, Sampling
from deepseek_server.engine.text import AnswerText


class Answer:
    """An answer as it grows, token by token.

    Args:
        sampling: when the request wants it to end.
        decode: token ids to text, without special tokens.
        eos_token_ids: the tokens with which the model ends.
    """

    def __init__(
        self,
        sampling: Sampling,
        decode: Callable[[Sequence[int]], str],
        eos_token_ids: frozenset[int],
    ) -> None:
        self._sampling = sampling
        self._eos = frozenset() if sampling.ignore_eos else eos_token_ids
        self._text = AnswerText(decode, sampling.stop)
        self._count = 0

    def push(self, token_id: int, cached_tokens: int = 0) -> Output:
        """What a token adds.

        Args:
            token_id: the next token of the answer.
            cached_tokens: tokens of the prompt that needed no computing, to be passed on.
        """
        self._count += 1
        reason: FinishReason | None = None
        may_stop = self._count > self._sampling.min_tokens
        if token_id in self._eos and may_stop:
            text, _ = self._text.flush()
            reason = "stop"
        else:
            text, stopped = self._text.push(token_id, may_stop=may_stop)
            if not stopped and self._count >= self._sampling.max_tokens:
                rest, stopped = self._text.flush()
                text, reason = text + rest, "length"
            reason = "stop" if stopped else reason
        return Output((token_id,), text, reason, cached_tokens)
