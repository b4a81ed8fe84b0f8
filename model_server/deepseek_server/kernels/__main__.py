"""`python -m deepseek_server.kernels`: compile FlashInfer's kernels ahead, or check that they are there."""

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
    """Do what the command line says; exit codes: 0 done, 2 usage, 3 something has to be changed."""
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
    building = commands.add_parser("build", help="compile for some GPUs; needs none")
    building.add_argument("--archs", required=True, help="such as 8.0,8.9,9.0a,10.0a")
    building.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["bfloat16"], help="default: bfloat16"
    )
    building.add_argument(
        "--out",
        type=Path,
        help="folder for the libraries; default: where FlashInfer looks for them",
    )
    building.add_argument(
        "--workspace",
        type=Path,
        default=Path.home() / ".cache/deepseek-kernels",
        help="folder for sources and objects, used again the next time",
    )
    packing = commands.add_parser("pack", help="copy FlashInfer and its kernels for an image")
    packing.add_argument("target", type=Path, help="a new folder, to be put on PYTHONPATH")
    commands.add_parser("check", help="whether FlashInfer finds all kernels compiled")
    return parser


if __name__ == "__main__":
    sys.exit(main())
