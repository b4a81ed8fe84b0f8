"""The engine process with a cache that holds only one sequence of the context's length."""

from deepseek_server.models import capacity
from deepseek_server.worker.main import main

if __name__ == "__main__":
    capacity.CPU_CACHE_BYTES = 0
    main()
