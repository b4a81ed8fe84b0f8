from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.distributed import transport

# Lines of NCCL's log: the first, the third and the two with sockets were logged by 2.28.9 on two H200
# of one host, the others follow its source (src/transport/p2p.cc, net.cc, net_ib).
HEAD = "node-a:4711:4722 [0] NCCL INFO "
P2P = HEAD + "Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM"
IPC = HEAD + "Channel 07/0 : 0[3b000] -> 1[86000] via P2P/IPC/read"
SHM = HEAD + "Channel 00 : 0[0] -> 1[1] via SHM/direct/direct"
IB = HEAD + "Channel 00/0 : 1[1] -> 2[0] [send] via NET/IB/0/GDRDMA"
SOCKET = HEAD + "Channel 01/0 : 3[1] -> 0[0] [receive] via NET/Socket/0"
SHARED = HEAD + "Channel 00/1 : 0[0] -> 1[1] [send] via NET/Socket/0/Shared"
PLUGIN = HEAD + "Channel 01/0 : 3[1] -> 0[0] [receive] via NET/Libfabric/0"
USING_IB = HEAD + "NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB eth0:10.0.0.7<0>"
USING_ROCE = HEAD + "NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth0:10.0.0.7<0>"
NO_IB = HEAD + "NET/IB : Using [RO]; OOB eth0:192.0.2.2<0>"
NOISE = HEAD + "Using network Socket"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([P2P], "P2P"),
        ([IPC], "P2P"),
        ([P2P, SHM], "SHM"),
        ([USING_IB, P2P, IB], "IB"),
        ([USING_ROCE, P2P, IB], "RoCE"),
        ([USING_IB, IB, SOCKET], "Socket"),
        ([P2P, SHARED], "Socket"),
        ([NO_IB, NOISE, P2P, SOCKET], "Socket"),
        ([P2P, PLUGIN], "Libfabric"),
        ([NO_IB, NOISE], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_slowest_transport_in_the_log(lines: list[str], expected: str) -> None:
    assert transport.transport(lines) == expected
    assert transport.transport(reversed(lines)) == expected


@given(st.lists(st.text()))
def test_any_other_log_gives_unknown(lines: list[str]) -> None:
    assert transport.transport(line for line in lines if "via" not in line) == "unknown"


def test_the_slowest_transport_of_all_ranks() -> None:
    assert transport.slowest(["P2P", "unknown", "IB"]) == "IB"
    assert transport.slowest(["unknown"]) == "unknown"


def test_each_process_has_its_own_log(tmp_path: Path) -> None:
    added = transport.logging_environment(tmp_path, {})
    Path(added["NCCL_DEBUG_FILE"].replace("%p", "42")).write_text(f"{P2P}\n{SOCKET}\n")
    assert transport.of_process(tmp_path, 42) == "Socket"
    assert transport.of_process(tmp_path, 43) == "unknown"


def test_a_log_requested_by_the_user_is_not_redirected(tmp_path: Path) -> None:
    assert transport.logging_environment(tmp_path, {"NCCL_DEBUG": "WARN"}) == {}
