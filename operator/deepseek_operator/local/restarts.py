"""Whether a server that has ended is started again, when, and what is said of its end."""

import signal
from dataclasses import dataclass

# Exit codes of the model server (model_server/deepseek_server/errors.py), and of a wrong command line.
DONE, USAGE, PERMANENT, TRANSIENT = 0, 2, 3, 4
# Starts after a failure, until it has served for so long that the next failure is another story.
BUDGET, STEADY_SECONDS = 5, 600.0
# Seconds before the first of them; each further one waits twice as long.
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0
# Share of a pause that is drawn, so that replicas which failed together do not start together.
JITTER = 0.5
# The port is ours to choose, so one that somebody took meanwhile is nobody's mistake.
PORT_TAKEN = "cannot listen on "

POLICY = (
    f"A replica that ends is started again up to {BUDGET} times, after {FIRST_SECONDS:g} to "
    f"{LAST_SECONDS:g} s; {STEADY_SECONDS / 60:g} minutes of service count as a new beginning."
)


@dataclass(frozen=True)
class Again:
    """It is started again.

    Attributes:
        seconds: After this pause.
    """

    seconds: float


@dataclass(frozen=True)
class Stop:
    """It is not started again.

    Attributes:
        why: As a sentence, with what to do.
    """

    why: str


def decide(code: int, last_words: str, failures: int, draw: float) -> Again | Stop:
    """What follows an end that nobody asked for.

    Args:
        code: The exit code, negative for a signal.
        last_words: What the server has left, empty where nothing.
        failures: In a row, this one included.
        draw: A number from 0 to 1, for the pause.
    """
    if code in (USAGE, PERMANENT) and not last_words.startswith(PORT_TAKEN):
        return Stop("The same start would fail again: mend what it says, then bring it up again.")
    if failures > BUDGET:
        return Stop(
            f"It has ended {failures} times in a row and is not started again. Its log says more; "
            "bring it down and up again once the cause is mended."
        )
    pause = min(FIRST_SECONDS * 2.0 ** (failures - 1), LAST_SECONDS)
    return Again(pause * (1 - JITTER + JITTER * draw))


def in_words(code: int, out_of_memory: bool) -> str:
    """How a process ended.

    Args:
        code: Its exit code, negative for a signal.
        out_of_memory: Whether the kernel has ended a process for lack of memory meanwhile.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name != "SIGKILL":
        return f"was ended by {name}"
    if out_of_memory:
        return "was ended by SIGKILL, by the kernel for lack of memory"
    return "was ended by SIGKILL, by somebody or by the kernel for lack of memory"
