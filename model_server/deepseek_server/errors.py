"""Why the server could not start, as one sentence and an exit code.

A person reads the sentence in the log, and the operator reads it from the pod's termination
message and shows it in the resource's status. The exit code says whether trying again can help.
"""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

# Kubernetes keeps no more of a termination message.
TERMINATION_MESSAGE_BYTES = 4096


class StartError(Exception):
    """The server cannot start; the message says what is wrong, where, and what to do."""

    exit_code: int


class PermanentError(StartError):
    """Somebody has to change something first."""

    exit_code = 3


class TransientError(StartError):
    """The same start may work later."""

    exit_code = 4


class FollowedError(TransientError):
    """Another process ended, and this one has nothing to do without it."""


class GangError(StartError):
    """The pods of a model did not find each other, or what lies between them is not good enough."""

    exit_code = 5


def failure(exit_code: int, sentence: str) -> StartError:
    """The error that ends a process with a code; one without a word of its own may be transient."""
    for kind in (PermanentError, GangError):
        if kind.exit_code == exit_code:
            return kind(sentence)
    return TransientError(sentence)


def report(error: StartError) -> int:
    """Log the sentence, leave it as the pod's termination message and return the exit code."""
    log.error("%s", error)
    path = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
    try:
        if path.parent != Path("/dev") or path.exists():  # never make a file in /dev
            path.write_bytes(str(error).encode()[:TERMINATION_MESSAGE_BYTES])
    except OSError as reason:
        log.debug("no termination message written: %s", reason)
    return error.exit_code
