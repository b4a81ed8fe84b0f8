"""The commands: their flags, and what they print.

Results go to standard output as JSON, progress to standard error.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deepseek_server.bench import profiles
from deepseek_server.bench.progress import bar, say
from deepseek_server.bench.rows import at_once, known
from deepseek_server.bench.serving import ours, transformers_serve
from deepseek_server.bench.suite import Suite, as_text


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
    started = time.monotonic()
    with bar(profile, weight_bytes(config), "B") as written:
        write_model(config, directory, written)
    say(f"{directory}: {profile} in {time.monotonic() - started:.1f} s")


def _add_suite(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "suite", help="make a profile's model, start servers, measure all rows, print a table"
    )
    parser.add_argument("--profile", choices=profiles.NAMES, required=True)
    parser.add_argument("--layers", type=_positive, metavar="N", help="fewer layers than it has")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="the model, made there if there is none"
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        default=_rows("start,n1,n32,n256,mixed,prefix"),
        metavar="ROW,...",
        help="nK (K at once), mixed, prefix, start; default: start,n1,n32,n256,mixed,prefix",
    )
    parser.add_argument("--device", default="cuda", help="cuda (the default) or cpu")
    parser.add_argument("--server-args", default="", metavar="ARGS", help="more for our server")
    parser.add_argument("--baseline", choices=["transformers-serve"], help="measure this too")
    parser.add_argument("--baseline-args", default="", metavar="ARGS", help="more for that server")
    parser.add_argument(
        "--against",
        type=_rows,
        default=_rows("n32,n256"),
        metavar="ROW,...",
        help="with --baseline",
    )
    parser.add_argument("--budget", type=float, default=60.0, metavar="S", help="seconds per row")
    parser.add_argument(
        "--processes", type=_positive, default=1, metavar="N", help="processes that send the load"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here too")
    parser.set_defaults(run=_suite)


def _suite(flags: argparse.Namespace) -> None:
    directory = flags.model or Path(tempfile.gettempdir()) / f"bench-{flags.profile}"
    if not (directory / "config.json").is_file():
        make_model(flags.profile, directory, flags.layers)
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
        budget=flags.budget,
        processes=flags.processes,
        logs=(flags.out or directory / "results.json").parent,
    )

    def done(results: dict[str, Any]) -> None:
        if flags.out:
            flags.out.write_text(json.dumps(results, indent=2))

    results = suite.run(done)
    say(as_text(results["table"]))
    sys.stdout.write(json.dumps(results) + "\n")


def _rows(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if not known(name)]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no row called {', '.join(unknown)}: write n1, n32, ..., mixed, prefix or start"
        )
    return names


ALL = (_add_make_model, _add_suite)
