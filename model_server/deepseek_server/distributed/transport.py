"""NCCL's transport, read from its log.

NCCL selects a transport for each pair of GPUs when they first communicate, and reports it only in its
log (NCCL_DEBUG=INFO), one line for each channel: through the memory of one host (`via P2P/CUMEM`,
`via SHM/direct/direct`) or over a network (`via NET/IB/0/GDRDMA`, `via NET/Socket/0`). Its list of
ports shows whether the network of the verbs library (IB) is InfiniBand or Ethernet:
`NET/IB : Using [0]mlx5_0:1/RoCE`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

UNKNOWN = "unknown"
# From slow to fast; the slowest connection limits a model.
_SLOWEST_FIRST = ("Socket", "RoCE", "IB", "SHM", "P2P")

_CHANNEL = re.compile(r"Channel \S+ : .* via (?P<kind>[A-Za-z0-9]+)(?:/(?P<net>[A-Za-z0-9_]+))?")
_ROCE = re.compile(r"NET/IB ?: ?Using .*/RoCE")
_LOGS = "nccl-*.log"


def logging_environment(
    directory: Path, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables that make NCCL log its transport to a file for each process.

    Returns none if the user has set NCCL_DEBUG, so that the log stays where the user expects it.
    """
    if "NCCL_DEBUG" in environment:
        return {}
    return {
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,NET,P2P,SHM",
        "NCCL_DEBUG_FILE": str(directory / _LOGS.replace("*", "%p")),
    }


def of_process(directory: Path, pid: int) -> str:
    """Return NCCL's transport in a process; `unknown` if there is no log."""
    path = directory / _LOGS.replace("*", str(pid))
    try:
        return transport(path.read_text(errors="replace").splitlines())
    except OSError:
        return UNKNOWN


def transport(lines: Iterable[str]) -> str:
    """Return the slowest transport in a log of NCCL: Socket, RoCE, IB, SHM, P2P, or unknown.

    Networks of a plug-in have the plug-in's name.
    """
    found, roce = set(), False
    for line in lines:
        roce = roce or bool(_ROCE.search(line))
        if match := _CHANNEL.search(line):
            found.add(match["net"] or UNKNOWN if match["kind"] == "NET" else match["kind"])
    return slowest("RoCE" if way == "IB" and roce else way for way in found)


def slowest(ways: Iterable[str]) -> str:
    """Return the slowest of some transports; an unknown network counts as slow."""
    known = set(ways) - {UNKNOWN}
    others = sorted(known - set(_SLOWEST_FIRST))
    ranked = [way for way in _SLOWEST_FIRST if way in known]
    networks = [way for way in ranked if way in ("Socket", "RoCE", "IB")]
    return next(iter([*networks[:1], *others, *ranked]), UNKNOWN)
