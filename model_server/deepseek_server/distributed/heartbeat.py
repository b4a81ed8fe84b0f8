"""Heartbeats: detection of lost ranks, so that no process of a model outlives another one.

A collective operation waits for all of its processes, on a GPU without an error and without a timeout,
so if one is killed, the others would hang. Every rank keeps a connection to rank 0. When it breaks
without a goodbye, the rank ends with one sentence; rank 0 ends when any connection breaks, which breaks
the others.

Processes of one host only send a goodbye. Those of several pods (a gang) also send heartbeats, because
a host that is disconnected or a process that is stopped breaks no connection. Rank 0 reports the lost
rank to the others, so that all name the same one. A rank that fails reports it before it ends. The
others then wait a moment for a failure of their own, because each rank should report a problem that
all of them have.
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

from deepseek_server.distributed import exit_reasons
from deepseek_server.distributed.exit_reasons import ExitReason
from deepseek_server.distributed.failure_detector import FailureDetector
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.errors import GangError, StartError, TransientError, report

_GOODBYE, _ALIVE, _LOSS = b"\0", b"\1", b"\2"
_LENGTH_BYTES = 4
# Time until the end of a process is detected by rank 0, and the end of rank 0 by the others.
_LOSS_SECONDS = 5.0
# Time that a rank's own failure may come after the failure of another rank.
_OWN_SECONDS = 1.5
_CUT_OFF = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})


@dataclass(frozen=True)
class Loss:
    """The loss of a rank.

    Attributes:
        rank: its number.
        what: what happened, as the predicate of a sentence about the rank.
        silent: whether it only stopped responding and may not have ended.
        itself: whether it reported the failure itself, so that other ranks may have the same problem.
        hint: where to look for the cause.
    """

    rank: int
    what: str = "has ended"
    silent: bool = False
    itself: bool = False
    hint: str = "see its log"

    def error(self, named: str, rank: int) -> StartError:
        """Return the error that another rank ends with.

        Args:
            named: the name of the lost rank.
            rank: the number of the rank that ends.
        """
        kind = GangError if self.silent else TransientError
        sentence = f"{named} {self.what}, so rank {rank} ends too"
        return kind(f"{sentence}: {self.hint}" if self.hint else sentence)


class HeartbeatMonitor:
    """The heartbeat connections of one process to the others.

    Args:
        rank: the number of this process.
        connections: connections from control_channel.connect_ranks, used for nothing else.
        gang_info: the ranks of all pods, if there are several pods.
    """

    def __init__(
        self, rank: int, connections: Mapping[int, socket.socket], gang_info: GangInfo | None = None
    ) -> None:
        self._rank, self._connections, self._gang_info = rank, connections, gang_info
        self._failure_detector: FailureDetector | None = None
        if gang_info is not None:
            self._failure_detector = FailureDetector(
                connections, gang_info.gang.silence_seconds, time.monotonic()
            )
        self._leaving, self._failed = threading.Event(), threading.Event()
        self._send_lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="heartbeats", daemon=True)
        self._thread.start()

    def await_loss(self, error: Exception) -> None:
        """Wait after an error: if another process has ended, this call ends this one as well.

        The kernel gives up a dead connection before a rank counts as silent, so in that case this
        also waits for the heartbeat timeout.
        """
        patience = _LOSS_SECONDS
        if self._gang_info is not None and isinstance(error, OSError) and error.errno in _CUT_OFF:
            patience += self._gang_info.gang.silence_seconds
        self._thread.join(patience)

    def leave(self) -> None:
        """Say goodbye, so that this process can end without ending the others."""
        self._leaving.set()
        for connection in self._connections.values():
            try:
                with self._send_lock:
                    connection.sendall(_GOODBYE)
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other process has ended already
        self._thread.join()
        for connection in self._connections.values():
            connection.close()

    def fail(self, sentence: str) -> None:
        """Report that this process has failed and is about to end, so that the others end too."""
        self._failed.set()
        self._report_loss(Loss(self._rank, "has failed", itself=True, hint=sentence))

    def _report_loss(self, loss: Loss, *, exclude: int | None = None) -> None:
        """Report a loss to the other ranks of a gang; others detect the broken connection."""
        if self._gang_info is None:
            return
        content = pickle.dumps(loss)
        message = _LOSS + len(content).to_bytes(_LENGTH_BYTES, "little") + content
        for rank, connection in self._connections.items():
            if rank != exclude:
                self._send(connection, message)

    def _send(self, connection: socket.socket, message: bytes) -> None:
        try:
            with self._send_lock:
                connection.send(message, socket.MSG_DONTWAIT)
        except OSError:
            return  # the watch thread detects a rank that does not respond or has ended

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, rank)
            beat = time.monotonic()
            while selector.get_map():
                for key, _ in selector.select(self._until(beat)):
                    if self._has_left(key.data):
                        selector.unregister(key.fileobj)
                if self._failure_detector is not None and time.monotonic() >= beat:
                    beat = time.monotonic() + self._failure_detector.period
                    self._beat(self._failure_detector)

    def _until(self, beat: float) -> float | None:
        return None if self._failure_detector is None else max(beat - time.monotonic(), 0)

    def _beat(self, failure_detector: FailureDetector) -> None:
        """Send a heartbeat, and check for ranks that have sent none."""
        for connection in self._connections.values():
            self._send(connection, _ALIVE)
        lost = failure_detector.lost(time.monotonic())
        if lost is not None and self._gang_info is not None:
            seconds = f"{self._gang_info.gang.silence_seconds:g}"
            what = f"has sent no heartbeat for {seconds} s"
            self._handle_loss(Loss(lost, what, silent=True, hint=""))

    def _has_left(self, rank: int) -> bool:
        """Read from a rank's connection; return whether the rank has left."""
        connection = self._connections[rank]
        try:
            message_type = connection.recv(1)
            if message_type == _LOSS:
                self._handle_report(rank, _read(connection))
                return False
        except OSError as error:
            message_type = b""
            if error.errno in _CUT_OFF and not self._leaving.is_set():
                self._handle_loss(Loss(rank, "cannot be reached any more", silent=True, hint=""))
        if message_type == _ALIVE:
            if self._failure_detector is not None:
                self._failure_detector.record_heartbeat(rank, time.monotonic())
            return False
        if message_type != _GOODBYE and not self._leaving.is_set():
            self._handle_loss(Loss(rank))
        if self._failure_detector is not None:
            self._failure_detector.forget(rank)
        return True

    def _handle_report(self, reporter: int, loss: Loss) -> None:
        """Handle a report of another rank that it has lost a rank or has failed."""
        self._report_loss(loss, exclude=reporter)
        if loss.itself:
            time.sleep(_OWN_SECONDS)
        self._end(loss)

    def _handle_loss(self, loss: Loss) -> None:
        self._report_loss(loss, exclude=loss.rank)
        self._end(loss)

    def _end(self, loss: Loss) -> None:
        """End this process at once: its other threads may wait for the lost rank forever."""
        if self._failed.is_set():  # it is already ending because of its own failure
            threading.Event().wait()
        if self._gang_info is None:
            os._exit(report(loss.error(f"rank {loss.rank} of this model", self._rank)))
        error = loss.error(self._gang_info.named(loss.rank), self._rank)
        exit_reason = ExitReason(self._rank, error.exit_code, str(error), loss.rank)
        exit_reasons.write(self._gang_info.directory, exit_reason)
        os._exit(report(error))


def _read(connection: socket.socket) -> Loss:
    length = int.from_bytes(connection.recv(_LENGTH_BYTES, socket.MSG_WAITALL), "little")
    content = connection.recv(length, socket.MSG_WAITALL)
    loss: Loss = pickle.loads(content)  # noqa: S301 - the other process runs the same program
    return loss
