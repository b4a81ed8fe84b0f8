"""Entry point of `python -m deepseek_operator`."""

import os
import signal

if __name__ == "__main__":
    # PID 1 of a container ignores signals that it does not handle, and the imports below take
    # seconds.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from deepseek_operator.controller.main import main

    main()
