"""A line on standard error that says how a measurement gets on."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types


@contextmanager
def bar(what: str, total: int, unit: str = "req") -> Iterator[Callable[[int], None]]:
    """A bar, for as long as the block runs; none where standard error is no terminal."""
    lock = threading.Lock()
    scaled = unit == "B"
    with tqdm(
        total=total, unit=unit, unit_scale=scaled, desc=what, leave=False, disable=None
    ) as line:

        def step(count: int) -> None:
            with lock:
                line.update(count)

        yield step


def say(text: str) -> None:
    """A line that stays."""
    tqdm.write(text, file=sys.stderr)
