"""The network interface by which other pods are reached.

gloo binds to the address that the host's own name has, which on many machines is the loopback.
What counts is the interface with the route to the leader, and on the leader the one whose address
the others know.
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
    """The interface that packets to a host leave from.

    Nothing is sent. The kernel is asked for the address that it would send from, and that address
    belongs to one interface; this also holds where the host is this machine itself.

    Returns:
        Its name; empty where no interface has the address.

    Raises:
        OSError: the host's name has no address yet, or there is no route to it.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as asking:
        asking.connect(address)
        source = str(asking.getsockname()[0])
    if family == socket.AF_INET6:
        return by_ipv6(source, _IPV6_TABLE.read_text())
    return next((name for _, name in socket.if_nameindex() if _ipv4(name) == source), "")


def by_ipv6(address: str, table: str) -> str:
    """The interface with an IPv6 address, in what /proc/net/if_inet6 says; empty if none has it."""
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
        except OSError:  # it has none
            return ""
    return socket.inet_ntoa(answer[20:24])
