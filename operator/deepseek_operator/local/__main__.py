"""The detached supervisor: `python -m deepseek_operator.local DIRECTORY LOCK SOCKET`.

LOCK and SOCKET are inherited file descriptors, so that no other process can take either in between.
"""

import asyncio
import socket
import sys
from pathlib import Path

from deepseek_operator.local.launch_plan import LaunchPlan
from deepseek_operator.local.state_dir import StateDir
from deepseek_operator.local.supervisor import Supervisor
from deepseek_operator.local.view import View


def main() -> int:
    """Run the launch plan of the state directory; return 1 if all replicas failed."""
    state_dir = StateDir(Path(sys.argv[1]))
    launch_plan = state_dir.launch_plan()
    if launch_plan is None:
        sys.exit(f"{state_dir.directory} contains no valid launch plan")
    listening = socket.socket(fileno=int(sys.argv[3]))
    return 0 if asyncio.run(_run(launch_plan, state_dir, listening)) else 1


async def _run(launch_plan: LaunchPlan, state_dir: StateDir, listening: socket.socket) -> bool:
    return await Supervisor(launch_plan, state_dir, listening, _ignore).run()


def _ignore(_: View) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
