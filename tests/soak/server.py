"""The server, but for the module that its engine's process runs: `python -m tests.soak.server`."""

from deepseek_server.__main__ import main
from deepseek_server.launcher import WorkerProcess

if __name__ == "__main__":
    WorkerProcess.module = "tests.soak.worker"
    main()
