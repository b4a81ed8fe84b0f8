"""Connections between rank 0 of a model and each of the others.

A command arrives over them in a fifth of the time of gloo's broadcast, because only the kernel is
between the sending and the receiving thread.
"""

import pickle
import socket
from collections.abc import Callable
from typing import Any

_CONNECT_SECONDS = 60.0
# Interval in seconds and number of keep-alive probes, which detect a host that lost its power.
_IDLE_SECONDS, _PROBES = 5, 3
_RANK_BYTES, _LENGTH_BYTES = 4, 8


def connect_ranks(
    rank: int, size: int, host: str, broadcast: Callable[[object], Any]
) -> dict[int, socket.socket]:
    """Connect the ranks; all must call it.

    Args:
        rank: The number of this process.
        size: The number of processes.
        host: The host of rank 0.
        broadcast: Broadcasts a value of rank 0 to all, once.

    Returns:
        The connections by the rank of the peer: those of rank 0 to all others, or that of another
        rank to rank 0.

    Raises:
        OSError: The others cannot be reached.
    """
    connections = _accept(size, broadcast) if rank == 0 else {0: _connect(rank, host, broadcast)}
    for connection in connections.values():
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _IDLE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    return connections


def _accept(size: int, broadcast: Callable[[object], Any]) -> dict[int, socket.socket]:
    """Accept a connection from each of the others, which begins with its rank."""
    connections: dict[int, socket.socket] = {}
    with _listen(size) as server:
        server.settimeout(_CONNECT_SECONDS)
        broadcast(server.getsockname()[1])
        while len(connections) < size - 1:
            connection, _ = server.accept()
            connection.settimeout(_CONNECT_SECONDS)
            connections[int.from_bytes(_receive(connection, _RANK_BYTES), "little")] = connection
    return connections


def _listen(size: int) -> socket.socket:
    """Listen on IPv4 and IPv6, because in a cluster the name of rank 0 may resolve to either."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", 0), family=socket.AF_INET6, backlog=size, dualstack_ipv6=True
        )
    return socket.create_server(("", 0), backlog=size)


def _connect(rank: int, host: str, broadcast: Callable[[object], Any]) -> socket.socket:
    connection = socket.create_connection((host, broadcast(None)), _CONNECT_SECONDS)
    connection.sendall(rank.to_bytes(_RANK_BYTES, "little"))
    return connection


def send(connections: dict[int, socket.socket], value: object) -> None:
    """Send a value over all connections.

    Raises:
        OSError: a connection is broken.
    """
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    message = len(content).to_bytes(_LENGTH_BYTES, "little") + content
    for connection in connections.values():
        connection.sendall(message)


def receive(connection: socket.socket) -> Any:
    """Wait for a value, without a timeout.

    Raises:
        OSError: the connection is broken.
    """
    length = int.from_bytes(_receive(connection, _LENGTH_BYTES), "little")
    return pickle.loads(_receive(connection, length))  # noqa: S301 - rank 0 runs the same program


def _receive(connection: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    rest = memoryview(content)
    while rest:  # a signal ends a call early, and a checkpoint's description takes many packets
        received = connection.recv_into(rest, len(rest), socket.MSG_WAITALL)
        if not received:
            raise ConnectionResetError("the connection was closed at its other end")
        rest = rest[received:]
    return content
