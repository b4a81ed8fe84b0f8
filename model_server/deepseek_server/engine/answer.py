"""From the tokens of one answer to its text, and whether the answer ends with it."""

from collections.abc import Callable, Sequence

from deepseek_server.engine.detokenizer import AnswerText
from deepseek_server.engine.types import FinishReason, Sampling


class Answer:
    """An answer as it grows, token by token.

    Args:
        sampling: which texts end it, and how long it must be first.
        decode: token ids to text, without special tokens.
    """

    def __init__(self, sampling: Sampling, decode: Callable[[Sequence[int]], str]) -> None:
        self._min_tokens = sampling.min_tokens
        self._text = AnswerText(decode, sampling.stop)
        self._count = 0

    def push(self, token_id: int, ends: FinishReason | None) -> tuple[str, FinishReason | None]:
        """What a token adds to the text, and why the answer ends here, if it does.

        Args:
            token_id: the next token of the answer.
            ends: why the answer ends with this token, whatever its text.
        """
        self._count += 1
        if ends == "stop":  # the token says no more than that
            return self._text.flush()[0], "stop"
        text, stopped = self._text.push(token_id, may_stop=self._count > self._min_tokens)
        if ends == "length" and not stopped:
            rest, stopped = self._text.flush()
            text += rest
        return text, "stop" if stopped else ends
