"""Progress output of a measurement on standard error."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types


@contextmanager
def bar(what: str, total: int, unit: str = "req") -> Iterator[Callable[[int], None]]:
    """Show a progress bar during the block; none if standard error is not a terminal."""
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
    """Print a line that stays above the progress bar."""
    tqdm.write(text, file=sys.stderr)
