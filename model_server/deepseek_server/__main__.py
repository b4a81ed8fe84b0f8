"""The command `deepseek-server`, also `python -m deepseek_server`."""

import logging
import os
import signal


def main() -> None:
    """Serve until SIGTERM; exit codes: 0 done, 2 usage, 3 permanent error, 4 transient error."""
    # The kernel drops signals to the first process of a container that it has no handler for, and
    # the imports below take seconds: a pod that is stopped meanwhile would use up its whole grace
    # period.
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
    # A thread that is still loading a model must not delay the exit.
    os._exit(code)


if __name__ == "__main__":
    main()
