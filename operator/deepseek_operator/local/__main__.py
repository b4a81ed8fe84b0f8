"""The detached supervisor: `python -m deepseek_operator.local DIRECTORY LOCK SOCKET`.

LOCK and SOCKET are inherited file descriptors, so that no other process can take either in between.
"""

import asyncio
import socket
import sys
from pathlib import Path

from deepseek_operator.local.launch_plan import Arrangement
from deepseek_operator.local.state_dir import Place
from deepseek_operator.local.supervisor import Supervisor
from deepseek_operator.local.view import View


def main() -> int:
    """Run the launch plan of the state directory; return 1 if all replicas failed."""
    kept = Place(Path(sys.argv[1]))
    arrangement = kept.arrangement()
    if arrangement is None:
        sys.exit(f"{kept.directory} contains no valid launch plan")
    listening = socket.socket(fileno=int(sys.argv[3]))
    return 0 if asyncio.run(_run(arrangement, kept, listening)) else 1


async def _run(arrangement: Arrangement, kept: Place, listening: socket.socket) -> bool:
    return await Supervisor(arrangement, kept, listening, _nobody_looks).run()


def _nobody_looks(_: View) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
