"""Flags that several commands have, and types of their values."""

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
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def length(text: str) -> Length:
    """A number of tokens, fixed or drawn."""
    try:
        return Length.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def profile(text: str) -> str:
    """The name of a profile."""
    try:
        return profiles.named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_processes(parser: argparse.ArgumentParser) -> None:
    """How many processes send the load."""
    parser.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="processes that send the load; one is enough up to about 20,000 tokens a second",
    )


def add_fields(parser: argparse.ArgumentParser) -> None:
    """More fields of the requests."""
    parser.add_argument(
        "--field",
        dest="fields",
        type=_field,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="put this into each request, for instance temperature=0",
    )


def add_one_rank(parser: argparse.ArgumentParser) -> None:
    """One rank of several, without the others."""
    parser.add_argument(
        "--tensor-parallel-of",
        type=positive,
        default=1,
        metavar="N",
        help="compute what one of N GPUs computes that share the model, without the others",
    )
    parser.add_argument("--rank", type=int, default=0, metavar="R", help="which of them; from 0")


def one_rank(flags: argparse.Namespace) -> "Group":
    """Return the group that the flags of `add_one_rank` ask for.

    Raises:
        BenchError: there is no such rank.
    """
    # Imported here because they start torch.
    from benchmarks.server.steps.one_rank import OneRankAlone
    from deepseek_server.distributed.process_group import ALONE

    try:
        asked = OneRankAlone(flags.rank, flags.tensor_parallel_of)
    except ValueError as error:
        raise BenchError(str(error)) from error
    return asked if asked.size > 1 else ALONE


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    try:
        if name and separator:
            return name, json.loads(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not NAME=JSON, for instance temperature=0")


def write(results: dict[str, Any]) -> None:
    """Results on standard output."""
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
