"""No process of a model outlives another one.

A collective operation waits for all of its processes, on a GPU without a word and without an end,
so when one is killed the others would hang with a model that nobody can use. Every process keeps a
connection to the first one. When it breaks without a goodbye, the process ends with one sentence;
the first one ends when any of them breaks, and that breaks the others.

Processes of one host need to say no more than goodbye. Those of several pods (a team) also say now
and then that they are alive, because a host that is cut off, or a process that is stopped, breaks
no connection; and the first one tells the others whom it has lost, so that all name the same one.
A rank that fails says so before it ends. The others wait a moment for a failure of their own,
because what is wrong with all of them is best said by each.
"""

import errno
import os
import pickle
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_server.distributed import exit_reasons as causes
from deepseek_server.distributed.exit_reasons import Cause
from deepseek_server.distributed.failure_detector import Pulse
from deepseek_server.distributed.rank_info import Team
from deepseek_server.errors import GangError, StartError, TransientError, report

_GOODBYE, _ALIVE, _LOSS = b"\0", b"\1", b"\2"
_LENGTH_BYTES = 4
# Until a process that died is missed by the one that it is tied to, and that one by the next.
_LOSS_SECONDS = 5.0
# What a failure of one's own may come later than that of another rank.
_OWN_SECONDS = 1.5
_CUT_OFF = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})


@dataclass(frozen=True)
class Loss:
    """What has become of a rank.

    Attributes:
        rank: its number.
        what: in words, as what follows its name in a sentence.
        silent: whether it has not ended, as far as one knows, but cannot be heard.
        itself: whether it says so itself, so that the same may be wrong with others.
        hint: what to look at.
    """

    rank: int
    what: str = "has ended"
    silent: bool = False
    itself: bool = False
    hint: str = "its own log says why"

    def error(self, named: str, rank: int) -> StartError:
        """What another rank ends with.

        Args:
            named: what the lost rank is called.
            rank: the number of the one that ends.
        """
        kind = GangError if self.silent else TransientError
        sentence = f"{named} {self.what}, so rank {rank} ends too"
        return kind(f"{sentence}: {self.hint}" if self.hint else sentence)


class Lifeline:
    """The connections of one process to the others.

    Args:
        rank: the number of this process.
        wires: what wires.lay laid, for this alone.
        team: what there is to know of the others, where they are in several pods.
    """

    def __init__(
        self, rank: int, wires: Mapping[int, socket.socket], team: Team | None = None
    ) -> None:
        self._rank, self._wires, self._team = rank, wires, team
        self._pulse: Pulse | None = None
        if team is not None:
            self._pulse = Pulse(wires, team.gang.silence_seconds, time.monotonic())
        self._untied, self._failed = threading.Event(), threading.Event()
        self._talking = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self._thread.start()

    def await_loss(self, error: Exception) -> None:
        """Something failed: if that is because another process ended, this one ends in here.

        A connection that nothing comes through is given up by the kernel before a rank counts as
        silent, so that is waited for.
        """
        patience = _LOSS_SECONDS
        if self._team is not None and isinstance(error, OSError) and error.errno in _CUT_OFF:
            patience += self._team.gang.silence_seconds
        self._thread.join(patience)

    def untie(self) -> None:
        """This process may end from here on, and the others go on."""
        self._untied.set()
        for wire in self._wires.values():
            try:
                with self._talking:
                    wire.sendall(_GOODBYE)
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other one is gone already
        self._thread.join()
        for wire in self._wires.values():
            wire.close()

    def fail(self, sentence: str) -> None:
        """This process is about to end because something is wrong with it; the others follow."""
        self._failed.set()
        self._tell(Loss(self._rank, "has failed", itself=True, hint=sentence))

    def _tell(self, loss: Loss, *, but: int | None = None) -> None:
        """Let the others know at once, if they listen for it; a broken wire tells them too."""
        if self._team is None:
            return
        content = pickle.dumps(loss)
        message = _LOSS + len(content).to_bytes(_LENGTH_BYTES, "little") + content
        for rank, wire in self._wires.items():
            if rank != but:
                self._send(wire, message)

    def _send(self, wire: socket.socket, message: bytes) -> None:
        try:
            with self._talking:
                wire.send(message, socket.MSG_DONTWAIT)
        except OSError:
            return  # whoever does not listen, or is gone, is found out by the one who watches

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, wire in self._wires.items():
                selector.register(wire, selectors.EVENT_READ, rank)
            beat = time.monotonic()
            while selector.get_map():
                for key, _ in selector.select(self._until(beat)):
                    if self._has_left(key.data):
                        selector.unregister(key.fileobj)
                if self._pulse is not None and time.monotonic() >= beat:
                    beat = time.monotonic() + self._pulse.period
                    self._beat(self._pulse)

    def _until(self, beat: float) -> float | None:
        return None if self._pulse is None else max(beat - time.monotonic(), 0)

    def _beat(self, pulse: Pulse) -> None:
        """Say that this one is alive, and look who has not said it."""
        for wire in self._wires.values():
            self._send(wire, _ALIVE)
        lost = pulse.lost(time.monotonic())
        if lost is not None and self._team is not None:
            seconds = f"{self._team.gang.silence_seconds:g}"
            what = f"has not been heard of for {seconds} s"
            self._lose(Loss(lost, what, silent=True, hint=""))

    def _has_left(self, rank: int) -> bool:
        """Take up what a rank says; returns whether it has said goodbye."""
        wire = self._wires[rank]
        try:
            word = wire.recv(1)
            if word == _LOSS:
                self._hear(rank, _read(wire))
                return False
        except OSError as error:
            word = b""
            if error.errno in _CUT_OFF and not self._untied.is_set():
                self._lose(Loss(rank, "cannot be reached any more", silent=True, hint=""))
        if word == _ALIVE:
            if self._pulse is not None:
                self._pulse.heard(rank, time.monotonic())
            return False
        if word != _GOODBYE and not self._untied.is_set():
            self._lose(Loss(rank))
        if self._pulse is not None:
            self._pulse.forget(rank)
        return True

    def _hear(self, teller: int, loss: Loss) -> None:
        """Another rank says whom it has lost, or that it fails."""
        self._tell(loss, but=teller)
        if loss.itself:
            time.sleep(_OWN_SECONDS)
        self._end(loss)

    def _lose(self, loss: Loss) -> None:
        self._tell(loss, but=loss.rank)
        self._end(loss)

    def _end(self, loss: Loss) -> None:
        """End this process at once: its other threads may wait for the lost one forever."""
        if self._failed.is_set():  # it is ending already, for a reason of its own
            threading.Event().wait()
        if self._team is None:
            os._exit(report(loss.error(f"rank {loss.rank} of this model", self._rank)))
        error = loss.error(self._team.named(loss.rank), self._rank)
        cause = Cause(self._rank, error.exit_code, str(error), loss.rank)
        causes.leave(self._team.directory, cause)
        os._exit(report(error))


def _read(wire: socket.socket) -> Loss:
    length = int.from_bytes(wire.recv(_LENGTH_BYTES, socket.MSG_WAITALL), "little")
    content = wire.recv(length, socket.MSG_WAITALL)
    loss: Loss = pickle.loads(content)  # noqa: S301 - the other one runs this very program
    return loss
