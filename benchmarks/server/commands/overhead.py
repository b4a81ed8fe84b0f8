"""`overhead`: the server's overhead over the bare model, and a comparison on one stream."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.server.client.prompts import vocabulary
from benchmarks.server.commands.flags import add_fields, positive, profile, write
from benchmarks.server.commands.make_model import existing
from benchmarks.server.overhead import Overhead
from benchmarks.server.serving import ours, transformers_serve


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "overhead", help="measure the server's time per token beyond the bare model's"
    )
    parser.add_argument("--profile", type=profile, default="tiny", metavar="PROFILE")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="model directory, created if missing"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("-n", "--at-once", type=positive, default=32, metavar="N")
    parser.add_argument(
        "--core", type=int, metavar="N", help="pin servers and model to this CPU core"
    )
    parser.add_argument(
        "--baseline", choices=["transformers-serve"], help="compare one stream with this server"
    )
    add_fields(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Measure the overhead and print it."""
    directory = existing(flags.profile, flags.model)
    config = json.loads((directory / "config.json").read_bytes())
    with tempfile.TemporaryDirectory(prefix="bench-") as logs:
        overhead = Overhead(
            directory=directory,
            device=flags.device,
            vocabulary=vocabulary(config),
            context=config["max_position_embeddings"],
            logs=Path(logs),
            extra=dict(flags.fields),
            core=flags.core,
        )
        command = ours(directory, flags.device)
        results = overhead.measure(command, flags.at_once)
        if flags.baseline:
            theirs = transformers_serve(directory, flags.device)
            results["one_stream"] = overhead.compare(command, theirs)
    write(results)
