"""The commands: their flags, and what they print.

Results go to standard output as JSON, progress to standard error.
"""

import argparse
import threading
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types

from deepseek_server.bench import profiles


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _add_make_model(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "make-model", help="write a model of a published shape with random weights"
    )
    parser.add_argument("profile", choices=profiles.NAMES)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--layers", type=_positive, metavar="N", help="fewer layers than it has")
    parser.set_defaults(run=_make_model)


def _make_model(flags: argparse.Namespace) -> None:
    make_model(flags.profile, flags.directory, flags.layers)


def make_model(profile: str, directory: Path, layers: int | None = None) -> None:
    """Write a profile's model, with progress on standard error."""
    # Imported here because it starts torch.
    from deepseek_server.bench.make_model import weight_bytes, write_model

    config = profiles.configuration(profile, layers)
    started, lock = time.monotonic(), threading.Lock()
    with tqdm(
        total=weight_bytes(config), unit="B", unit_scale=True, desc=profile, leave=False
    ) as bar:

        def written(count: int) -> None:
            with lock:
                bar.update(count)

        write_model(config, directory, written)
    tqdm.write(f"{directory}: {profile} in {time.monotonic() - started:.1f} s")


ALL = (_add_make_model,)
