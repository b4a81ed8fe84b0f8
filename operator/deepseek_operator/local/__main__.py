"""Looks after servers without a terminal: `python -m deepseek_operator.local DIRECTORY LOCK SOCKET`.

LOCK and SOCKET are open files that it inherits, so that nobody else can come between.
"""

import asyncio
import socket
import sys
from pathlib import Path

from deepseek_operator.local.place import Place
from deepseek_operator.local.supervisor import Supervisor
from deepseek_operator.local.view import View


def main() -> int:
    """Run what the directory says."""
    kept = Place(Path(sys.argv[1]))
    arrangement = kept.arrangement()
    if arrangement is None:
        print(f"{kept.directory} says nothing of what is to run", file=sys.stderr)  # noqa: T201
        return 2
    listening = socket.socket(fileno=int(sys.argv[3]))
    return asyncio.run(_run(kept, listening))


async def _run(kept: Place, listening: socket.socket) -> int:
    arrangement = kept.arrangement()
    assert arrangement is not None  # noqa: S101 - it was read a moment ago
    return await Supervisor(arrangement, kept, listening, _nobody_looks).run()


def _nobody_looks(_: View) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
