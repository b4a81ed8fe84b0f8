"""`python -m deepseek_operator`."""

import os
import signal

if __name__ == "__main__":
    # The first process of a container does not hear a signal that it has not asked for, and what
    # follows takes seconds to import.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from deepseek_operator.controller.main import main

    main()
