"""`make-model`: a model of a published shape with random weights."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.server.commands.flags import positive, profile
from benchmarks.server.model import profiles
from benchmarks.server.progress import bar, say


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "make-model", help="write a model of a published shape with random weights"
    )
    parser.add_argument("profile", type=profile, metavar="PROFILE", help=", ".join(profiles.NAMES))
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument(
        "--layers", type=positive, metavar="N", help="layers, fewer than the model's"
    )
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Write the model."""
    make(flags.profile, flags.directory, flags.layers)


def existing(profile: str, directory: Path | None, layers: int | None = None) -> Path:
    """Return a directory with a profile's model; write the model if it is missing.

    Args:
        profile: name of the profile.
        directory: None for a temporary directory named after the profile.
        layers: number of layers, instead of the profile's own.
    """
    depth = "" if layers is None else f"-{layers}-layers"
    directory = directory or Path(tempfile.gettempdir()) / f"bench-{profile}{depth}"
    if not (directory / "config.json").is_file():
        make(profile, directory, layers)
    return directory


def make(profile: str, directory: Path, layers: int | None = None) -> None:
    """Write a profile's model, with progress on standard error."""
    # Imported here because it starts torch.
    from benchmarks.server.model.make_model import weight_bytes, write_model

    config = profiles.configuration(profile, layers)
    started = time.monotonic()
    with bar(profile, weight_bytes(config), "B") as written:
        write_model(config, directory, written)
    say(f"{directory}: {profile} in {time.monotonic() - started:.1f} s")
