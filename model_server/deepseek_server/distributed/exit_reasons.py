"""Causes: files in which the ranks of a pod record why they ended.

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
class Cause:
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


def leave(directory: Path, cause: Cause) -> None:
    """Write why this rank ends; an earlier cause is kept."""
    path = directory / f"cause-{cause.rank}.json"
    written = path.with_suffix(f".{cause.lost}")
    try:
        written.write_text(json.dumps(asdict(cause)))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(written)
    except OSError as error:  # the server has ended, or the disk is full; the log has the cause
        log.debug("cannot write the cause: %s", error)


def found(directory: Path) -> list[Cause]:
    """Return the causes that the ranks of this pod have written, by rank."""
    causes = []
    for path in directory.glob("cause-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            causes.append(Cause(**json.loads(path.read_text())))
    return sorted(causes, key=lambda cause: cause.rank)


def decide(causes: Sequence[Cause], ranks: Iterable[int], host: str) -> StartError:
    """Return the error that a pod ends with.

    A failure of one of its ranks takes precedence, then a rank that ended without a cause, then the
    loss of other ranks.

    Args:
        causes: the causes of its ranks.
        ranks: its ranks.
        host: its node.
    """
    for cause in causes:
        if cause.lost is None:
            return failure(cause.exit_code, cause.sentence)
    silent = set(ranks) - {cause.rank for cause in causes}
    for cause in causes:
        # A rank that only sends no heartbeat may still run, and then writes no cause.
        if cause.lost not in silent or cause.exit_code == GangError.exit_code:
            return failure(cause.exit_code, cause.sentence)
    return TransientError(
        f"rank {min(silent, default=0)} on {host} has ended without an error message, most likely "
        "killed because it ran out of memory: see the log above; if it has no error, give the pod "
        "more memory"
    )
