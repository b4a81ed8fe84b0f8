"""`python -m deepseek_server.kernels`: compile, pack or check FlashInfer's kernels."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from deepseek_server.errors import PermanentError
from deepseek_server.kernels.archs import parse_archs
from deepseek_server.kernels.build import build
from deepseek_server.kernels.check import check
from deepseek_server.kernels.pack import pack

DTYPES = ("bfloat16", "float16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 for success, 2 for wrong usage, 3 for an error to be fixed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        if options.command == "build":
            build(parse_archs(options.archs), options.dtypes, options.out, options.workspace)
        elif options.command == "pack":
            pack(options.target)
        else:
            check()
    except PermanentError as error:
        logging.getLogger(__name__).error("%s", error)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deepseek_server.kernels", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="compile kernels; needs no GPU")
    building.add_argument(
        "--archs", required=True, help="GPU architectures, such as 8.0,8.9,9.0a,10.0a"
    )
    building.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["bfloat16"], help="default: bfloat16"
    )
    building.add_argument(
        "--out",
        type=Path,
        help="directory of the libraries; default: the one where FlashInfer looks for them",
    )
    building.add_argument(
        "--workspace",
        type=Path,
        default=Path.home() / ".cache/deepseek-kernels",
        help="directory of sources and object files, reused by later builds",
    )
    packing = commands.add_parser("pack", help="copy FlashInfer and its kernels for an image")
    packing.add_argument("target", type=Path, help="new directory, to be added to PYTHONPATH")
    commands.add_parser("check", help="check that FlashInfer finds all kernels compiled")
    return parser


if __name__ == "__main__":
    sys.exit(main())
