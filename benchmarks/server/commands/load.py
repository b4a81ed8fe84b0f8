"""`load`: one load on any server, optionally compared with another server."""

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.server.client.endpoints import opened
from benchmarks.server.client.target import Dialect, Target
from benchmarks.server.client.workloads import Lengths, Workloads
from benchmarks.server.commands.flags import add_fields, add_processes, length, positive, write
from benchmarks.server.progress import say
from benchmarks.server.report.summary import Goals


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("load", help="put load on any server and print its figures")
    parser.add_argument(
        "server", metavar="URL_OR_COMMAND", help="{port} in a command is replaced by a free port"
    )
    parser.add_argument("--ratio-to", metavar="URL_OR_COMMAND", help="compare with this server")
    _add_server_flags(parser)
    _add_load_flags(parser)
    add_processes(parser)
    parser.set_defaults(run=run)


def _add_server_flags(parser: argparse.ArgumentParser) -> None:
    for prefix, whose in (("", "the server"), ("ratio-", "the other server")):
        parser.add_argument(
            f"--{prefix}dialect",
            type=Dialect,
            choices=list(Dialect),
            default=Dialect.VLLM,
            help=f"API dialect of {whose}; default: vllm, as of this project's server",
        )
        parser.add_argument(
            f"--{prefix}model",
            default="",
            metavar="NAME",
            help="model name; default: the first in /v1/models",
        )
        parser.add_argument(
            f"--{prefix}ready",
            default="/health/ready",
            metavar="PAGE",
            help="path that a started server answers with 200 once it accepts requests",
        )
    parser.add_argument(
        "--header",
        dest="headers",
        type=_header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="additional header of each request, for instance 'Authorization: Bearer KEY'",
    )
    add_fields(parser)


def _add_load_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--at-once", type=positive, default=8, metavar="N", help="concurrent requests"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--requests", type=positive, metavar="N", help="total requests; default: 4 x --at-once"
    )
    kinds.add_argument(
        "--rate", type=float, metavar="R", help="open loop: random arrivals, R per second"
    )
    kinds.add_argument(
        "--share",
        type=float,
        metavar="X",
        help="open loop: random arrivals at X times the peak of --at-once requests",
    )
    kinds.add_argument(
        "--again",
        type=positive,
        metavar="TOKENS",
        help="prefix cache: a prompt with a prefix of TOKENS, then another with the same prefix",
    )
    parser.add_argument(
        "--input", type=length, default="512", help="prompt tokens, or lognormal:MEAN"
    )
    parser.add_argument(
        "--output", type=length, default="128", help="answer tokens, or lognormal:MEAN"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="duration with --rate and --share"
    )
    parser.add_argument(
        "--budget", type=float, default=float("inf"), help="seconds after which a load is cut off"
    )
    parser.add_argument("--repeats", type=positive, default=1, metavar="N")
    parser.add_argument(
        "--vocabulary", type=positive, default=30000, help="prompts use token ids from 256 to this"
    )
    parser.add_argument(
        "--context", type=positive, default=32768, help="context length of the model in tokens"
    )
    parser.add_argument(
        "--goal-ttft",
        type=float,
        default=float("inf"),
        metavar="S",
        help="goodput: maximum seconds to the first token",
    )
    parser.add_argument(
        "--goal-itl",
        type=float,
        default=float("inf"),
        metavar="S",
        help="goodput: maximum mean seconds between tokens",
    )


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:VALUE")
    return name.strip(), value.strip()


@dataclass(frozen=True)
class _Server:
    """A server as specified by the flags."""

    text: str
    like: Target
    ready: str
    log: Path


def run(flags: argparse.Namespace) -> None:
    """Measure one server, or two one after the other."""
    with tempfile.TemporaryDirectory(prefix="bench-") as logs:
        like = Target("", 0, headers=tuple(flags.headers), extra=dict(flags.fields))
        one = replace(like, model=flags.model, dialect=flags.dialect)
        results = {
            "server": _measure(_Server(flags.server, one, flags.ready, Path(logs) / "1"), flags)
        }
        if flags.ratio_to:
            two = replace(like, model=flags.ratio_model, dialect=flags.ratio_dialect)
            other = _Server(flags.ratio_to, two, flags.ratio_ready, Path(logs) / "2")
            results["other"] = _measure(other, flags)
            results["ratio"] = ratios(results["server"], results["other"])
    write(results)


def _measure(server: _Server, flags: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of all repeats, and the median of each figure."""
    with opened(server.text, server.like, server.ready, server.log) as target:
        workloads = Workloads(
            target,
            flags.vocabulary,
            flags.context,
            flags.budget,
            flags.processes,
            Goals(flags.goal_ttft, flags.goal_itl),
        )
        workloads.warm_up(flags.at_once)
        repeats = []
        for _ in range(flags.repeats):
            repeats.append(_once(workloads, flags))
            say(f"{server.text}: {json.dumps(repeats[-1])[:300]}")
    return {"median": medians(repeats), "repeats": repeats}


def _once(workloads: Workloads, flags: argparse.Namespace) -> dict[str, Any]:
    lengths = Lengths(flags.input, flags.output)
    if flags.again:
        return workloads.again(flags.again)
    if flags.share:
        return workloads.at_share(flags.share, flags.at_once, flags.seconds, lengths)
    if flags.rate:
        return workloads.open(flags.rate, flags.seconds, lengths)
    return workloads.closed(flags.at_once, flags.requests or 4 * flags.at_once, lengths)


def medians(repeats: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each figure; nested figures have dotted names."""
    flat = [_flat(figures) for figures in repeats]
    names = [name for name in flat[0] if all(name in figures for figures in flat)]
    return {name: median(figures[name] for figures in flat) for name in names}


def ratios(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of one server's medians to the other's, where the latter are not 0."""
    theirs = other["median"]
    return {
        name: round(value / theirs[name], 4)
        for name, value in one["median"].items()
        if theirs.get(name) and not name.startswith("server.")
    }


def _flat(figures: dict[str, Any], before: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        elif isinstance(value, int | float):
            found[before + name] = value
    return found
