"""Text and end of one answer, from its tokens."""

from collections.abc import Callable, Sequence

from deepseek_server.engine.detokenizer import AnswerText
from deepseek_server.engine.types import FinishReason, Sampling


class Answer:
    """An answer, built token by token.

    Args:
        sampling: has the stop strings and the minimum length.
        decode: converts token ids to text, without special tokens.
    """

    def __init__(self, sampling: Sampling, decode: Callable[[Sequence[int]], str]) -> None:
        self._min_tokens = sampling.min_tokens
        self._text = AnswerText(decode, sampling.stop)
        self._count = 0

    def push(self, token_id: int, ends: FinishReason | None) -> tuple[str, FinishReason | None]:
        """Return the text that a token adds, and the finish reason if the answer ends here.

        Args:
            token_id: the next token of the answer.
            ends: the finish reason if the answer ends with this token, regardless of its text.
        """
        self._count += 1
        if ends == "stop":  # an end token has no text
            return self._text.flush()[0], "stop"
        text, stopped = self._text.push(token_id, may_stop=self._count > self._min_tokens)
        if ends == "length" and not stopped:
            rest, stopped = self._text.flush()
            text += rest
        return text, "stop" if stopped else ends
