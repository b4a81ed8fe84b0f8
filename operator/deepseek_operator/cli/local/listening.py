"""The listening socket of the endpoint."""

import errno
import ipaddress
import socket

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.local.probing import listener
from deepseek_operator.local.state_dir import Place


def is_loopback(host: str) -> bool:
    """Return True if an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        CommandError: The port is in use, or the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CommandError(
                f"{host} port {port} can't be opened ({error.strerror}): use another --host or "
                "--port."
            ) from error
        raise CommandError(
            f"Port {port} is in use{_by(port)}: use another --port, or --port 0 for any free port."
        ) from error


def _by(port: int) -> str:
    for place in Place.every():
        view = place.view()
        if view and place.locked and view.endpoint.endswith(f":{port}"):
            return f" by {place.name} (stop it with deepseek local down {place.name})"
    who = listener(port)
    return f" ({who})" if who else ""
