"""No process of a model outlives another one.

A collective operation waits for all of its processes, on a GPU without a word and without an end,
so when one is killed the others would hang with a model that nobody can use. Every process keeps a
connection to the first one, over which nothing is ever said but goodbye. When it breaks without
that, the process ends with one sentence; the first one ends when any of them breaks, and that
breaks the others.
"""

import os
import selectors
import socket
import threading
from collections.abc import Mapping

from deepseek_server.failures import TransientError, report

_GOODBYE = b"\0"
# Until a process that died is missed by the one that it is tied to, and that one by the next.
_LOSS_SECONDS = 5.0


class Lifeline:
    """The connections of one process to the others.

    Args:
        rank: the number of this process.
        wires: what wires.lay laid, for this alone.
    """

    def __init__(self, rank: int, wires: Mapping[int, socket.socket]) -> None:
        self._rank, self._wires = rank, wires
        self._untied = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self._thread.start()

    def await_loss(self) -> None:
        """Something failed: if that is because another process ended, this one ends in here."""
        self._thread.join(_LOSS_SECONDS)

    def untie(self) -> None:
        """This process may end from here on, and the others go on."""
        self._untied.set()
        for wire in self._wires.values():
            try:
                wire.sendall(_GOODBYE)
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other one is gone already
        self._thread.join()
        for wire in self._wires.values():
            wire.close()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, wire in self._wires.items():
                selector.register(wire, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    if self._said_goodbye(self._wires[key.data]):
                        selector.unregister(key.fileobj)
                    else:
                        _end(self._rank, key.data)

    def _said_goodbye(self, wire: socket.socket) -> bool:
        try:
            received = wire.recv(1)
        except OSError:
            received = b""
        return received == _GOODBYE or self._untied.is_set()


def _end(rank: int, other: int) -> None:
    """End this process at once: its other threads may wait for the dead one forever."""
    code = report(
        TransientError(
            f"rank {other} of this model has ended, so rank {rank} ends too: its own log says why"
        )
    )
    os._exit(code)
