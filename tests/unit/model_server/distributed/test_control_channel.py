"""Values sent between ranks arrive complete or not at all."""

import contextlib
import pickle
import signal
import socket
import threading

import pytest

from deepseek_server.distributed import control_channel

# As large as the descriptions of a checkpoint with 92,000 tensors, sent by two pods.
LARGE = bytes(range(256)) * 70_000


def test_a_large_value_arrives_whole_despite_signals() -> None:
    here, there = socket.socketpair()
    content = pickle.dumps(LARGE, pickle.HIGHEST_PROTOCOL)
    message = len(content).to_bytes(8, "little") + content
    signals = []
    before = signal.signal(signal.SIGALRM, lambda *_: signals.append(1))
    half_sent, go_on = threading.Event(), threading.Event()

    def send() -> None:
        with contextlib.suppress(OSError):  # the peer has given up
            there.sendall(message[: len(message) // 2])
            half_sent.set()
            go_on.wait(10)
            there.sendall(message[len(message) // 2 :])

    def interrupt() -> None:
        half_sent.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        go_on.set()

    threads = [threading.Thread(target=target) for target in (send, interrupt)]
    try:
        for thread in threads:
            thread.start()
        assert control_channel.receive(here) == LARGE
    finally:
        here.close()
        for thread in threads:
            thread.join()
        there.close()
        signal.signal(signal.SIGALRM, before)
    assert signals


def test_a_connection_that_closes_within_a_value_is_an_error() -> None:
    here, there = socket.socketpair()
    there.sendall((100).to_bytes(8, "little") + b"half")
    there.close()
    with pytest.raises(ConnectionResetError, match="closed at its other end"):
        control_channel.receive(here)
    here.close()
