"""`forward`: the time of a step of the bare model."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.server.accelerators import KNOWN, Accelerator, find
from benchmarks.server.commands.flags import add_one_rank, one_rank, positive, write
from benchmarks.server.failures import BenchError
from benchmarks.server.report.rows import LIMIT_GOAL
from benchmarks.server.roofline import decode_bytes, decode_seconds, shape


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "forward", help="measure a decode step of the bare model, without engine and HTTP"
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of the model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("-n", "--at-once", type=positive, default=32, metavar="N")
    parser.add_argument("--context", type=positive, default=128, metavar="TOKENS")
    parser.add_argument(
        "--accelerator",
        metavar="NAME",
        help=f"compare with this accelerator's limits: here, {', '.join(KNOWN)}",
    )
    add_one_rank(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Measure a step and print its time and its share of an accelerator's limit."""
    # Imported here because it starts torch.
    from benchmarks.server.steps.forward import decode_step
    from deepseek_server.errors import StartError

    device = find(flags.accelerator) if flags.accelerator else None
    try:
        step = decode_step(
            flags.directory, flags.device, flags.at_once, flags.context, one_rank(flags)
        )
    except StartError as error:
        raise BenchError(str(error)) from error
    found = {
        "at_once": flags.at_once,
        "context": flags.context,
        "ranks": flags.tensor_parallel_of,
        "step_ms": round(1e3 * step.wall, 4),
        "step_cpu_ms": round(1e3 * step.cpu, 4),
    }
    write(found if device is None else found | _limit(flags, device, step.wall))


def _limit(flags: argparse.Namespace, device: Accelerator, seconds: float) -> dict[str, Any]:
    config = json.loads((flags.directory / "config.json").read_bytes())
    model = shape(config, flags.tensor_parallel_of)
    limit = decode_seconds(model, device, flags.at_once, flags.context)
    share = limit / seconds
    return {
        "accelerator": device.name,
        "step_gb": round(decode_bytes(model, flags.at_once, flags.context) / 1e9, 4),
        "limit_ms": round(1e3 * limit, 4),
        LIMIT_GOAL.figure: round(share, 4),
        "reached": LIMIT_GOAL.verdict(share),
    }
