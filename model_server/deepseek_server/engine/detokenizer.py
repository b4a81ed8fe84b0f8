"""Incremental detokenization and stop strings.

Two things can make the newest text uncertain. A character may span several tokens, and decodes to
U+FFFD until its last byte has arrived. And the text may end with the start of a stop string. Both are
held back until the next token decides, so that returned text is final, and the pieces joined equal the
text of all tokens decoded at once.
"""

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"


class Detokenizer:
    """Decodes tokens one at a time; only the tail of the tokens is decoded again."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._given = 0  # characters of the window's text that were returned

    def push(self, token_id: int) -> str:
        """Add a token and return the text that it completes."""
        self._window.append(token_id)
        text = self._decode(self._window)
        certain = text.removesuffix(REPLACEMENT) if text.endswith(REPLACEMENT) else text
        added = certain[self._given :]
        self._given = max(self._given, len(certain))
        if certain == text:
            # Keep one token of context for tokenizers that treat the first token specially.
            self._window = self._window[-1:]
            self._given = len(self._decode(self._window))
        return added

    def flush(self) -> str:
        """Return the rest, with U+FFFD for an incomplete character."""
        added = self._decode(self._window)[self._given :]
        self._window, self._given = [], 0
        return added


class StopFilter:
    """Cuts text at the first stop string, even if it spans several pieces."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, text: str, *, may_stop: bool = True) -> str:
        """Add text and return the part that cannot belong to a stop string."""
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
        """Return the text that was held back; empty if stopped."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _open_suffix(self) -> int:
        """Return how many characters at the end could start a stop string."""
        longest = max(map(len, self._stop)) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0


class AnswerText:
    """The text of an answer: detokenized and cut at stop strings."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._detokenizer, self._filter = Detokenizer(decode), StopFilter(stop)

    def push(self, token_id: int, *, may_stop: bool = True) -> tuple[str, bool]:
        """Return the text that a token adds, and whether the answer ends here."""
        text = self._filter.push(self._detokenizer.push(token_id), may_stop=may_stop)
        return text, self._filter.stopped

    def flush(self) -> tuple[str, bool]:
        """Return the rest after the last token, and whether it contained a stop string."""
        text = self._filter.push(self._detokenizer.flush())
        return text + self._filter.flush(), self._filter.stopped
