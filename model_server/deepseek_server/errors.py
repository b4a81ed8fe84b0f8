"""Start errors: one sentence and an exit code each.

Users read the sentence in the log; the operator reads it from the pod's termination message and
shows it in the resource's status. The exit code tells whether a retry can help.
"""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

# Kubernetes truncates termination messages to this size.
TERMINATION_MESSAGE_BYTES = 4096


class StartError(Exception):
    """The server cannot start; the message states what is wrong, where, and what to do."""

    exit_code: int


class PermanentError(StartError):
    """A retry cannot help: the user has to change something first."""

    exit_code = 3


class TransientError(StartError):
    """A retry may help."""

    exit_code = 4


class FollowedError(TransientError):
    """This process ends because another one did."""


class GangError(StartError):
    """The pods of a model could not connect, or the network between them is too slow."""

    exit_code = 5


def failure(exit_code: int, sentence: str) -> StartError:
    """Return the start error for an exit code; unknown codes count as transient."""
    for kind in (PermanentError, GangError):
        if kind.exit_code == exit_code:
            return kind(sentence)
    return TransientError(sentence)


def report(error: StartError) -> int:
    """Log the error, write it as the pod's termination message and return the exit code."""
    log.error("%s", error)
    path = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
    try:
        if path.parent != Path("/dev") or path.exists():  # never create a file in /dev
            path.write_bytes(str(error).encode()[:TERMINATION_MESSAGE_BYTES])
    except OSError as reason:
        log.debug("cannot write the termination message: %s", reason)
    return error.exit_code
