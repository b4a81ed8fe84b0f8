"""The listening socket of the endpoint."""

import errno
import ipaddress
import socket

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.local.probing import listener
from deepseek_operator.local.state_dir import StateDir


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
    for state_dir in StateDir.every():
        view = state_dir.view()
        if view and state_dir.locked and view.endpoint.endswith(f":{port}"):
            return f" by {state_dir.name} (stop it with deepseek local down {state_dir.name})"
    who = listener(port)
    return f" ({who})" if who else ""
