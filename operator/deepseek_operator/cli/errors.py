"""What ends a command with words and not with a traceback."""

# Exit codes. Typer's own for a wrong option is 2 as well.
REFUSED, UNUSABLE, DIFFERENT, UNANSWERED, FAILED = 1, 2, 3, 4, 5


class CommandError(Exception):
    """A command can't go on; the text says why and what to do."""

    code = UNUSABLE


class RefusedError(CommandError):
    """The operator would refuse the resource; the text is what it would say.

    Attributes:
        reason: The reason of the condition `Accepted`.
        message: Its message.
    """

    code = REFUSED

    def __init__(self, reason: str, message: str):
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message


class UnansweredError(CommandError):
    """The cluster does not answer, or not this person; the text says what is missing."""

    code = UNANSWERED


class FailedError(CommandError):
    """What was started has ended, and nobody asked for that."""

    code = FAILED
