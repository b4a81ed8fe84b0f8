"""The command `deepseek-server`, the same as `python -m deepseek_server`."""

import logging
import os
import signal


def main() -> None:
    """Serve until SIGTERM; exit codes: 0 done, 2 usage, 3 permanent error, 4 try again."""
    # The first process of a container does not hear a signal that it has not asked for, and what
    # follows takes seconds to import: a pod that is stopped meanwhile would stay for its whole
    # grace period.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from deepseek_server import logs
    from deepseek_server.command_line import parse
    from deepseek_server.errors import StartError, report
    from deepseek_server.server.main import serve

    try:
        logs.set_up()
        code = serve(parse())
    except StartError as error:
        code = report(error)
    logging.shutdown()
    # A thread that still loads a model must not hold up the end of the process.
    os._exit(code)


if __name__ == "__main__":
    main()
