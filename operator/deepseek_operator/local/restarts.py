"""The restart policy of a server that exits, and descriptions of its exit."""

import signal
from dataclasses import dataclass

# Exit codes of the model server (model_server/deepseek_server/errors.py), and of a wrong command line.
DONE, USAGE, PERMANENT, TRANSIENT = 0, 2, 3, 4
# Maximum consecutive restarts, and the time of service that resets the count.
BUDGET, STEADY_SECONDS = 5, 600.0
# Backoff before the first restart, doubled each time, and its maximum.
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0
# Random share of the backoff, so that replicas which failed together do not restart together.
JITTER = 0.5
# We choose the port, so a port that was taken in the meantime is transient.
PORT_TAKEN = "cannot listen on "

POLICY = (
    f"A replica that exits is restarted up to {BUDGET} times, after {FIRST_SECONDS:g} to "
    f"{LAST_SECONDS:g} s; {STEADY_SECONDS / 60:g} minutes of service reset the count."
)


@dataclass(frozen=True)
class Again:
    """The decision to restart a server.

    Attributes:
        seconds: Backoff before the restart.
    """

    seconds: float


@dataclass(frozen=True)
class Stop:
    """The decision not to restart a server.

    Attributes:
        why: The reason and what to do, as sentences.
    """

    why: str


def decide(code: int, last_words: str, failures: int, draw: float) -> Again | Stop:
    """Decide whether to restart a server after an unexpected exit.

    Args:
        code: Exit code, negative for a signal.
        last_words: Cause reported by the server; empty if none.
        failures: Number of consecutive failures, including this one.
        draw: Random number from 0 to 1, for the jitter.
    """
    if code in (USAGE, PERMANENT) and not last_words.startswith(PORT_TAKEN):
        return Stop("A restart would fail again: fix the reported cause, then start it again.")
    if failures > BUDGET:
        return Stop(
            f"It exited {failures} times in a row and is not restarted. Check its log, fix the cause, "
            "then stop it and start it again."
        )
    pause = min(FIRST_SECONDS * 2.0 ** (failures - 1), LAST_SECONDS)
    return Again(pause * (1 - JITTER + JITTER * draw))


def describe_exit(code: int, out_of_memory: bool) -> str:
    """Describe the exit of a process, as a predicate.

    Args:
        code: Exit code, negative for a signal.
        out_of_memory: True if the kernel's OOM killer has killed a process in the meantime.
    """
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name != "SIGKILL":
        return f"was killed by {name}"
    if out_of_memory:
        return "was killed by SIGKILL, sent by the kernel's OOM killer"
    return "was killed by SIGKILL, sent by a user or by the kernel's OOM killer"
