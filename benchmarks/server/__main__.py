"""The command `python -m benchmarks.server`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from benchmarks.server.commands import forward, load, make_model, overhead, roofline, suite
from benchmarks.server.failures import BenchError

DESCRIPTION = """\
Benchmark language model servers.

examples:
  python -m benchmarks.server make-model qwen-7b /tmp/qwen-7b
  python -m benchmarks.server load http://127.0.0.1:8000 -n 32
  python -m benchmarks.server roofline qwen-7b --accelerator h200
  python -m benchmarks.server suite --profile qwen-7b --baseline transformers-serve --out r.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 for success, 1 for a failed measurement, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="command")
    for command in (make_model, suite, load, roofline, forward, overhead):
        command.add(subparsers)
    flags = parser.parse_args(arguments)
    try:
        flags.run(flags)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    # Exit normally on SIGTERM, so that the started servers are stopped.
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
