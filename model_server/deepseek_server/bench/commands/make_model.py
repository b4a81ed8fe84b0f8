"""`make-model`: a model of a published shape with random weights."""

import argparse
import time
from pathlib import Path
from typing import Any

from deepseek_server.bench import profiles
from deepseek_server.bench.commands.flags import positive
from deepseek_server.bench.progress import bar, say


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "make-model", help="write a model of a published shape with random weights"
    )
    parser.add_argument("profile", choices=profiles.NAMES)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--layers", type=positive, metavar="N", help="fewer layers than it has")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Write the model."""
    make(flags.profile, flags.directory, flags.layers)


def make(profile: str, directory: Path, layers: int | None = None) -> None:
    """Write a profile's model, with progress on standard error."""
    # Imported here because it starts torch.
    from deepseek_server.bench.make_model import weight_bytes, write_model

    config = profiles.configuration(profile, layers)
    started = time.monotonic()
    with bar(profile, weight_bytes(config), "B") as written:
        write_model(config, directory, written)
    say(f"{directory}: {profile} in {time.monotonic() - started:.1f} s")
