"""Certificates that the strictest verifiers accept."""

import socket
import ssl
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from hack.cluster.machine.pki import Authority, Pair


def handshake(server: Pair, client: Pair, authority: Path) -> str:
    """Connect a socket pair by TLS and return the client's name as seen by the server."""
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    accepting.load_cert_chain(server.cert, server.key)
    accepting.verify_mode = ssl.CERT_REQUIRED
    connecting = ssl.create_default_context(cafile=authority)
    connecting.verify_flags |= ssl.VERIFY_X509_STRICT
    connecting.load_cert_chain(client.cert, client.key)
    ours, theirs = socket.socketpair()
    seen: list[str] = []

    def accept() -> None:
        try:
            with accepting.wrap_socket(theirs, server_side=True) as wrapped:
                peer = wrapped.getpeercert()
                assert peer is not None
                seen.append(str(peer["subject"]))
                wrapped.send(b"x")
        except ssl.SSLError as error:
            seen.append(str(error))
            theirs.close()

    thread = threading.Thread(target=accept)
    thread.start()
    with connecting.wrap_socket(ours, server_hostname="10.91.0.2") as wrapped:
        wrapped.recv(1)
    thread.join()
    return seen[0]


def test_server_and_client_verify_each_other(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    server = authority.issue("server", addresses=[IPv4Address("10.91.0.2")])
    client = authority.issue("admin", "alice", groups=["system:masters"])
    seen = handshake(server, client, authority.pair.cert)
    assert "alice" in seen
    assert "system:masters" in seen


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "a", "ca"), Authority(tmp_path / "b", "ca")
    server = other.issue("server", addresses=[IPv4Address("10.91.0.2")])
    client = authority.issue("admin")
    with pytest.raises(ssl.SSLError):
        handshake(server, client, authority.pair.cert)


def test_keys_are_readable_only_by_their_owner(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    pair = authority.issue("admin")
    path = authority.kubeconfig(tmp_path / "kubeconfig", "https://10.91.0.2:6443", pair)
    for secret in (pair.key, path):
        assert secret.stat().st_mode & 0o077 == 0
    assert yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"].endswith(":6443")
