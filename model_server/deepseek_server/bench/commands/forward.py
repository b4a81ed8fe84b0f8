"""`forward`: the time of a step of the bare model."""

import argparse
from pathlib import Path
from typing import Any

from deepseek_server.bench.commands.flags import add_one_rank, one_rank, positive, write
from deepseek_server.bench.failures import BenchError


def add(subparsers: Any) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "forward", help="how long the bare model takes for a step, without engine and HTTP"
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("-n", "--at-once", type=positive, default=32, metavar="N")
    parser.add_argument("--context", type=positive, default=128, metavar="TOKENS")
    add_one_rank(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    """Print it."""
    # Imported here because it starts torch.
    from deepseek_server.bench.steps.forward import decode_step
    from deepseek_server.failures import StartError

    try:
        step = decode_step(
            flags.directory, flags.device, flags.at_once, flags.context, one_rank(flags)
        )
    except StartError as error:
        raise BenchError(str(error)) from error
    write(
        {
            "at_once": flags.at_once,
            "context": flags.context,
            "ranks": flags.tensor_parallel_of,
            "step_ms": round(1e3 * step.wall, 4),
            "step_cpu_ms": round(1e3 * step.cpu, 4),
        }
    )
