"""Errors that end a command with a message instead of a traceback."""

# Exit codes. Typer also uses 2 for a wrong option.
REFUSED, UNUSABLE, DIFFERENT, UNANSWERED, FAILED = 1, 2, 3, 4, 5


class CommandError(Exception):
    """A command can't continue; the message states the cause and what to do."""

    code = UNUSABLE


class RefusedError(CommandError):
    """The operator would reject the resource; the message is the operator's.

    Attributes:
        reason: The reason of the condition `Accepted`.
        message: Its message.
    """

    code = REFUSED

    def __init__(self, reason: str, message: str):
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message


class UnansweredError(CommandError):
    """The cluster can't be reached or denies access; the message says what is missing."""

    code = UNANSWERED


class FailedError(CommandError):
    """The servers that the command started have failed."""

    code = FAILED
