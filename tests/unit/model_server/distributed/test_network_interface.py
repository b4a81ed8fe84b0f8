import socket

import pytest

from deepseek_server.distributed.network_interface import by_ipv6, interface_to

TABLE = """\
00000000000000000000000000000001 01 80 10 80       lo
fd000010024400010000000000000007 02 40 00 80     eth0
fe80000000000000a00000fffe000001 02 40 20 80     eth0
"""


def test_this_machine_is_reached_over_the_loopback() -> None:
    assert interface_to("127.0.0.1", 29500) == "lo"


def test_an_ipv6_address() -> None:
    assert by_ipv6("fd00:10:244:1::7", TABLE) == "eth0"
    assert by_ipv6("::1", TABLE) == "lo"
    assert by_ipv6("fe80::a000:ff:fe00:1%eth0", TABLE) == "eth0"
    assert by_ipv6("fd00::1", TABLE) == ""


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(socket.gaierror):
        interface_to("leader.invalid", 29500)
