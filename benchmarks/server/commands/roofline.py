"""`roofline`: the limits that an accelerator sets for a model."""

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.server.accelerators import KNOWN, find
from benchmarks.server.commands.flags import positive, write
from benchmarks.server.failures import BenchError
from benchmarks.server.model import profiles
from benchmarks.server.report.rows import LIMIT_GOAL
from benchmarks.server.roofline import closed_limit


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "roofline", help="print the limits of an accelerator's memory and arithmetic for a model"
    )
    parser.add_argument(
        "model",
        metavar="DIR_OR_PROFILE",
        help=f"a directory with a config.json, or {', '.join(profiles.NAMES)}",
    )
    parser.add_argument("--accelerator", default="here", help=f"here, {', '.join(KNOWN)}")
    parser.add_argument("-n", "--at-once", type=positive, nargs="+", default=[1, 32, 64, 256])
    parser.add_argument("--input", type=positive, default=512, help="tokens of a prompt")
    parser.add_argument("--output", type=positive, default=128, help="tokens of an answer")
    parser.add_argument(
        "--layers", type=positive, metavar="N", help="number of layers, instead of the model's own"
    )
    parser.add_argument(
        "--tensor-parallel-of",
        type=positive,
        default=1,
        metavar="N",
        help="number of devices that the model is split over",
    )
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Print the limits for each number of concurrent requests, and the goals of a step."""
    config, device = _config(flags.model), find(flags.accelerator)
    if flags.layers:
        config["num_hidden_layers"] = flags.layers
    limits = {}
    for number in flags.at_once:
        limit = closed_limit(
            config, device, number, flags.input, flags.output, flags.tensor_parallel_of
        )
        step = limit["decode_step_ms"]
        wanted = {"floor": step / LIMIT_GOAL.floor, "aim": step / LIMIT_GOAL.aim}
        limits[f"n{number}"] = limit | {
            f"decode_step_ms_{name}": round(value, 4) for name, value in wanted.items()
        }
    write({"accelerator": vars(device), "limits": limits})


def _config(model: str) -> dict[str, Any]:
    with suppress(ValueError):
        return profiles.configuration(profiles.named(model))
    path = Path(model) / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path} cannot be read ({error}): name a model's directory or one of the profiles "
            f"{', '.join(profiles.NAMES)}"
        ) from error
    return config
