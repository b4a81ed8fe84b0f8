"""The socket of the endpoint."""

import errno
import ipaddress
import socket

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.local.probing import listener
from deepseek_operator.local.state_dir import Place


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Raises:
        CommandError: Somebody has it, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CommandError(
                f"{host} port {port} can't be opened ({error.strerror}): give another --host or "
                "--port."
            ) from error
        raise CommandError(
            f"Port {port} is taken{_by(port)}: give another one with --port, or --port 0 for any "
            "that is free."
        ) from error


def _by(port: int) -> str:
    for place in Place.every():
        view = place.view()
        if view and place.locked and view.endpoint.endswith(f":{port}"):
            return f" by {place.name} (deepseek local down {place.name} ends it)"
    who = listener(port)
    return f" ({who})" if who else ""
