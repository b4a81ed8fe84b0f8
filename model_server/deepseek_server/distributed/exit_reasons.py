"""Exit reasons: files in which the ranks of a pod record why they ended.

A rank may have no connection to the server, or end while it uses it, so each writes a small file for
the pod's server. A failure of a rank itself takes precedence over one that it learned from others.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deepseek_server.errors import GangError, StartError, TransientError, failure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExitReason:
    """The reason why a rank ended.

    Attributes:
        rank: its number.
        exit_code: its exit code.
        sentence: the reason.
        lost: the rank whose end caused this one; None if it failed itself.
    """

    rank: int
    exit_code: int
    sentence: str
    lost: int | None = None


def write(directory: Path, exit_reason: ExitReason) -> None:
    """Write why this rank ends; an earlier reason is kept."""
    path = directory / f"cause-{exit_reason.rank}.json"
    temporary = path.with_suffix(f".{exit_reason.lost}")
    try:
        temporary.write_text(json.dumps(asdict(exit_reason)))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    except OSError as error:  # the server has ended, or the disk is full; the log has the reason
        log.debug("cannot write the exit reason: %s", error)


def read_all(directory: Path) -> list[ExitReason]:
    """Return the exit reasons that the ranks of this pod have written, by rank."""
    exit_reasons = []
    for path in directory.glob("cause-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            exit_reasons.append(ExitReason(**json.loads(path.read_text())))
    return sorted(exit_reasons, key=lambda exit_reason: exit_reason.rank)


def decide(exit_reasons: Sequence[ExitReason], ranks: Iterable[int], host: str) -> StartError:
    """Return the error that a pod ends with.

    A failure of one of its ranks takes precedence, then a rank that ended without a reason, then the
    loss of other ranks.

    Args:
        exit_reasons: the exit reasons of its ranks.
        ranks: its ranks.
        host: its node.
    """
    for exit_reason in exit_reasons:
        if exit_reason.lost is None:
            return failure(exit_reason.exit_code, exit_reason.sentence)
    silent = set(ranks) - {exit_reason.rank for exit_reason in exit_reasons}
    for exit_reason in exit_reasons:
        # A rank that only sends no heartbeat may still run, and then writes no exit reason.
        if exit_reason.lost not in silent or exit_reason.exit_code == GangError.exit_code:
            return failure(exit_reason.exit_code, exit_reason.sentence)
    return TransientError(
        f"rank {min(silent, default=0)} on {host} has ended without an error message, most likely "
        "killed because it ran out of memory: see the log above; if it has no error, give the pod "
        "more memory"
    )
