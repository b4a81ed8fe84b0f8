"""The engine's process with a cache that holds one sequence as long as the context, and no more."""

from deepseek_server.models import capacity
from deepseek_server.worker.main import main

if __name__ == "__main__":
    capacity.CPU_CACHE_BYTES = 0
    main()
