"""The server with a different module for its engine process: `python -m hack.soak.server`."""

from deepseek_server.__main__ import main
from deepseek_server.worker.launch import WorkerProcess

if __name__ == "__main__":
    WorkerProcess.module = "hack.soak.worker"
    main()
