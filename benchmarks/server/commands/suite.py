"""`suite`: generate a profile's model and measure every row of its table."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.server.accelerators import KNOWN, find
from benchmarks.server.commands.flags import add_fields, add_processes, positive, profile, write
from benchmarks.server.commands.make_model import existing
from benchmarks.server.model import profiles
from benchmarks.server.progress import say
from benchmarks.server.report.rows import at_once, known
from benchmarks.server.report.table import as_text
from benchmarks.server.serving import ours, transformers_serve
from benchmarks.server.suite import Suite


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "suite", help="generate a profile's model, start servers, measure all rows, print a table"
    )
    parser.add_argument(
        "--profile", type=profile, required=True, metavar="PROFILE", help=", ".join(profiles.NAMES)
    )
    parser.add_argument(
        "--layers", type=positive, metavar="N", help="layers, fewer than the model's"
    )
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="model directory, created if missing"
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        default=_rows("start,n1,n32,n256,mixed,prefix"),
        metavar="ROW,...",
        help="nK (K concurrent requests), mixed, prefix, start; "
        "default: start,n1,n32,n256,mixed,prefix",
    )
    parser.add_argument("--device", default="cuda", help="cuda (the default) or cpu")
    parser.add_argument(
        "--server-args", default="", metavar="ARGS", help="additional arguments of our server"
    )
    parser.add_argument(
        "--baseline", choices=["transformers-serve"], help="compare with this server"
    )
    parser.add_argument(
        "--baseline-args", default="", metavar="ARGS", help="additional arguments of that server"
    )
    parser.add_argument(
        "--against",
        type=_rows,
        default=_rows("n32,n256"),
        metavar="ROW,...",
        help="closed rows to compare with --baseline",
    )
    parser.add_argument("--budget", type=float, default=60.0, metavar="S", help="seconds per row")
    parser.add_argument(
        "--accelerator",
        metavar="NAME",
        help=f"report this accelerator's limits: here, {', '.join(KNOWN)}",
    )
    add_fields(parser)
    add_processes(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON to this file")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Measure all rows; print JSON to standard output and a table to standard error."""
    directory = existing(flags.profile, flags.model, flags.layers)
    baseline = None
    if flags.baseline:
        baseline = transformers_serve(directory, flags.device, flags.baseline_args)
    suite = Suite(
        profile=flags.profile,
        directory=directory,
        rows=flags.rows,
        command=ours(directory, flags.device, flags.server_args),
        baseline=baseline,
        against=[row for row in flags.against if at_once(row)],
        accelerator=find(flags.accelerator) if flags.accelerator else None,
        budget=flags.budget,
        processes=flags.processes,
        extra=dict(flags.fields),
        logs=(flags.out or directory / "results.json").parent,
    )

    def done(results: dict[str, Any]) -> None:
        if flags.out:
            flags.out.write_text(json.dumps(results, indent=2))

    results = suite.run(done)
    say(as_text(results["table"]))
    write(results)


def _rows(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if not known(name)]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown row {', '.join(unknown)}: write n1, n32, ..., mixed, prefix or start"
        )
    return names
