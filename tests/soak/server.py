"""The server, but for the module that its engine's process runs: `python -m tests.soak.server`."""

from deepseek_server import launcher
from deepseek_server.__main__ import main
from deepseek_server.config import Config

command = launcher._command


def small(config: Config) -> list[str]:
    """The command of a worker with a small cache."""
    module = "deepseek_server.worker"
    return ["tests.soak.worker" if part == module else part for part in command(config)]


if __name__ == "__main__":
    launcher._command = small
    main()
