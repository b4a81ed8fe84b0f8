"""The network interface for connections to other pods.

By default gloo binds to the address that the hostname resolves to, on many machines the loopback. The
right one is the interface with the route to the leader, and on the leader the interface with the
address that the others use.
"""

import fcntl
import socket
import struct
from pathlib import Path

# linux/sockios.h: the IPv4 address of an interface.
_SIOCGIFADDR = 0x8915
_NAME_BYTES = 15
_IPV6_TABLE = Path("/proc/net/if_inet6")


def interface_to(host: str, port: int) -> str:
    """Return the interface that packets to a host are sent from.

    Sends nothing: asks the kernel for the source address, which belongs to one interface. This also
    works if the host is this machine.

    Returns:
        Its name; empty if no interface has the address.

    Raises:
        OSError: the host's name does not resolve yet, or there is no route to it.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as asking:
        asking.connect(address)
        source = str(asking.getsockname()[0])
    if family == socket.AF_INET6:
        return by_ipv6(source, _IPV6_TABLE.read_text())
    return next((name for _, name in socket.if_nameindex() if _ipv4(name) == source), "")


def by_ipv6(address: str, table: str) -> str:
    """Return the interface with an IPv6 address from /proc/net/if_inet6; empty if none has it."""
    wanted = socket.inet_pton(socket.AF_INET6, address.partition("%")[0]).hex()
    for line in table.splitlines():
        fields = line.split()
        if fields and fields[0] == wanted:
            return fields[-1]
    return ""


def _ipv4(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(
                asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:_NAME_BYTES])
            )
        except OSError:  # the interface has no IPv4 address
            return ""
    return socket.inet_ntoa(answer[20:24])
