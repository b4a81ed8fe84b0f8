"""A line on standard error that says how a measurement gets on."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types


class Step(Protocol):
    """Told of progress, in any thread."""

    def __call__(self, count: int = 1) -> None:
        """So much more is done."""


@contextmanager
def bar(what: str, total: int, unit: str = "req") -> Iterator[Step]:
    """A bar, for as long as the block runs; none where standard error is no terminal."""
    lock = threading.Lock()
    scaled = unit == "B"
    with tqdm(
        total=total, unit=unit, unit_scale=scaled, desc=what, leave=False, disable=None
    ) as line:

        def step(count: int = 1) -> None:
            with lock:
                line.update(count)

        yield step


def say(text: str) -> None:
    """A line that stays."""
    tqdm.write(text, file=sys.stderr)
