"""From a growing list of token ids to a growing text.

Two things can make the newest text uncertain. A character may be spread over several tokens, and
until its last byte is there it decodes to U+FFFD. And the text may end in what could become a stop
text. Both are held back until the next token decides, so that text once given out is never wrong,
and the pieces joined are the text of all tokens decoded at once.
"""

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"


class Detokenizer:
    """Decodes tokens one at a time; only the tail of the tokens is decoded again."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._given = 0  # characters of the window's text that were given out

    def push(self, token_id: int) -> str:
        """The text that is certain now and was not before."""
        self._window.append(token_id)
        text = self._decode(self._window)
        certain = text.removesuffix(REPLACEMENT) if text.endswith(REPLACEMENT) else text
        added = certain[self._given :]
        self._given = max(self._given, len(certain))
        if certain == text:
            # One token of context is kept, for tokenizers that treat the first one apart.
            self._window = self._window[-1:]
            self._given = len(self._decode(self._window))
        return added

    def flush(self) -> str:
        """What is left, with U+FFFD for a character that never became complete."""
        added = self._decode(self._window)[self._given :]
        self._window, self._given = [], 0
        return added


class StopFilter:
    """Cuts a text at the first stop text, wherever the pieces' borders are."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, text: str, *, may_stop: bool = True) -> str:
        """The part of the text so far that cannot belong to a stop text."""
        if not self._stop or not may_stop:
            return self.flush() + text
        self._held += text
        cut = min((at for at in map(self._held.find, self._stop) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
        else:
            cut = len(self._held) - self._open_suffix()
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain

    def flush(self) -> str:
        """What was held back for nothing."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _open_suffix(self) -> int:
        """How many characters at the end could be the beginning of a stop text."""
        longest = max(map(len, self._stop)) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0


class AnswerText:
    """The text of an answer: detokenized and cut at stop texts."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._detokenizer, self._filter = Detokenizer(decode), StopFilter(stop)

    def push(self, token_id: int, *, may_stop: bool = True) -> tuple[str, bool]:
        """The text that a token adds, and whether the answer ends here."""
        text = self._filter.push(self._detokenizer.push(token_id), may_stop=may_stop)
        return text, self._filter.stopped

    def flush(self) -> tuple[str, bool]:
        """The rest after the last token, and whether it held a stop text."""
        text = self._filter.push(self._detokenizer.flush())
        return text + self._filter.flush(), self._filter.stopped
