"""Signals to the engine process of a pod, which is not the process of its HTTP server."""

from __future__ import annotations

from tests.support.kube import Kube

STOP, CONTINUE, KILL = 19, 18, 9
SIGNAL = """
import os, pathlib, sys
ranks = [
    int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")
    if b"deepseek_server.worker.main" in (path / "cmdline").read_bytes()
    and b"torch.distributed.run" not in (path / "cmdline").read_bytes()
]
for rank in ranks:
    os.kill(rank, int(sys.argv[1]))
print(len(ranks))
"""


def send(kube: Kube, pod: str, signal: int) -> None:
    """Send a signal to the only engine process of a pod."""
    ranks = kube.run("exec", pod, "--container=server", "--", "python", "-c", SIGNAL, str(signal))
    assert ranks.strip() == "1"
