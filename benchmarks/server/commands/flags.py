"""Flags shared by several commands, and types of their values."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.server.client.prompts import Length
from benchmarks.server.failures import BenchError
from benchmarks.server.model import profiles

if TYPE_CHECKING:
    from deepseek_server.distributed.process_group import Group  # takes seconds


def positive(text: str) -> int:
    """Parse a positive integer."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer above 0")
    return int(text)


def length(text: str) -> Length:
    """Parse a number of tokens, fixed or random."""
    try:
        return Length.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def profile(text: str) -> str:
    """Parse the name of a profile."""
    try:
        return profiles.named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the number of processes that send the load."""
    parser.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="processes that send the load; one suffices up to about 20,000 tokens per second",
    )


def add_fields(parser: argparse.ArgumentParser) -> None:
    """Add the flag for additional fields of the requests."""
    parser.add_argument(
        "--field",
        dest="fields",
        type=_field,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="additional field of each request, for instance temperature=0",
    )


def add_one_rank(parser: argparse.ArgumentParser) -> None:
    """Add the flags for one rank of a group, without the others."""
    parser.add_argument(
        "--tensor-parallel-of",
        type=positive,
        default=1,
        metavar="N",
        help="compute the part of one of N tensor-parallel ranks, without the others",
    )
    parser.add_argument("--rank", type=int, default=0, metavar="R", help="the rank, from 0")


def one_rank(flags: argparse.Namespace) -> "Group":
    """Return the group for the flags of `add_one_rank`.

    Raises:
        BenchError: there is no such rank.
    """
    # Imported here because they start torch.
    from benchmarks.server.steps.one_rank import OneRankAlone
    from deepseek_server.distributed.process_group import SINGLE_PROCESS

    try:
        asked = OneRankAlone(flags.rank, flags.tensor_parallel_of)
    except ValueError as error:
        raise BenchError(str(error)) from error
    return asked if asked.size > 1 else SINGLE_PROCESS


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    try:
        if name and separator:
            return name, json.loads(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not NAME=JSON, for instance temperature=0")


def write(results: dict[str, Any]) -> None:
    """Write results to standard output as JSON."""
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
