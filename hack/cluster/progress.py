"""Progress of long steps: a spinner with elapsed seconds on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)


class Elapsed:
    """A spinner's text with elapsed seconds."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._start = time.monotonic()

    def __rich__(self) -> str:
        return f"{self.text} [dim]{self.seconds:.0f} s[/dim]"

    @property
    def seconds(self) -> float:
        """Seconds since this step began."""
        return time.monotonic() - self._start


@contextmanager
def step(text: str) -> Iterator[Elapsed]:
    """Show `text` while the block runs, and its duration after success."""
    elapsed = Elapsed(text)
    if console.is_terminal:
        with console.status(elapsed):
            yield elapsed
    else:
        console.print(f"{text} ...", markup=False)
        yield elapsed
    done(elapsed.text, elapsed.seconds)


def done(text: str, seconds: float) -> None:
    """Print that a step has succeeded."""
    console.print(f"[green]ok[/green] {text} [dim]({seconds:.1f} s)[/dim]")


def say(text: str) -> None:
    """Print one line."""
    console.print(text, markup=False)
