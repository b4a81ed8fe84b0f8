"""The server with a different module for its engine process: `python -m tests.soak.server`."""

from deepseek_server.__main__ import main
from deepseek_server.launcher import WorkerProcess

if __name__ == "__main__":
    WorkerProcess.module = "tests.soak.worker"
    main()
