"""The command `python -m deepseek_server.bench`."""

import argparse
import sys
from collections.abc import Sequence

from deepseek_server.bench import commands
from deepseek_server.bench.failures import BenchError

DESCRIPTION = """\
Measure servers of language models.

examples:
  python -m deepseek_server.bench make-model qwen-7b /tmp/qwen-7b
  python -m deepseek_server.bench suite --profile qwen-7b --baseline transformers-serve --out r.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit codes: 0 done, 1 it could not be measured, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="python -m deepseek_server.bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="command")
    for command in commands.ALL:
        command(subparsers)
    flags = parser.parse_args(arguments)
    try:
        flags.run(flags)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
