"""Why the ranks of a pod ended, left where the pod's server finds it.

A rank may have no connection to the server, or end in the middle of using it. So each leaves a
small file. What went wrong in a rank itself says more than what it heard of others.
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
    """Why a rank ended.

    Attributes:
        rank: its number.
        exit_code: what it ended with.
        sentence: why.
        lost: the rank that ended before and took this one along; None where it failed itself.
    """

    rank: int
    exit_code: int
    sentence: str
    lost: int | None = None


def leave(directory: Path, cause: Cause) -> None:
    """Write down why this rank ends; the first cause stays."""
    path = directory / f"cause-{cause.rank}.json"
    written = path.with_suffix(f".{cause.lost}")
    try:
        written.write_text(json.dumps(asdict(cause)))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(written)
    except OSError as error:  # the server is gone, or the disk is full: the log has it
        log.debug("the cause could not be left: %s", error)


def found(directory: Path) -> list[Cause]:
    """What the ranks of this pod have left, by rank."""
    causes = []
    for path in directory.glob("cause-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            causes.append(Cause(**json.loads(path.read_text())))
    return sorted(causes, key=lambda cause: cause.rank)


def decide(causes: Sequence[Cause], ranks: Iterable[int], host: str) -> StartError:
    """What a pod ends with.

    Its ranks' own failures come first, then a rank that ended without a word, then what others did.

    Args:
        causes: what its ranks have left.
        ranks: those that it had.
        host: where it runs.
    """
    for cause in causes:
        if cause.lost is None:
            return failure(cause.exit_code, cause.sentence)
    silent = set(ranks) - {cause.rank for cause in causes}
    for cause in causes:
        # One that is only not heard of may be there, and has no word to leave.
        if cause.lost not in silent or cause.exit_code == GangError.exit_code:
            return failure(cause.exit_code, cause.sentence)
    return TransientError(
        f"rank {min(silent, default=0)} on {host} has ended without a word, most likely killed for "
        "taking too much memory: see the log above, and give the pod more memory if it says nothing"
    )
