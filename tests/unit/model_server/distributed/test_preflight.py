"""The preflight check of the network: its verdict, and a measurement with real ranks."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.config import Gang, Preflight
from deepseek_server.distributed import preflight
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.engine.ipc import SlowestPair

HOSTS = ("node-a", "node-a", "node-b", "node-b")


def gang_info(asked: float | None) -> GangInfo:
    gang = Gang(pods=2, preflight=Preflight(min_gigabytes_per_second=asked))
    return GangInfo(gang, HOSTS, Path("/run/x"))


def test_bandwidth_is_that_of_the_algorithm() -> None:
    assert preflight.bandwidth(2_000_000_000, 0.5) == 4.0


@pytest.mark.parametrize(("speed", "asked"), [(5.0, 5.0), (0.001, None), (0.0, 0.0)])
def test_fast_enough(speed: float, asked: float | None) -> None:
    assert preflight.verdict(speed, "Socket", None, gang_info(asked)) == ""


def test_too_slow() -> None:
    pair = SlowestPair(("node-a", "node-b"), 0.117)
    assert preflight.verdict(0.25, "Socket", pair, gang_info(5)) == (
        "the network between the pods is too slow: an all-reduce over 4 ranks reaches 0.25 GB/s "
        "over Socket, slowest between node-a and node-b (0.117 GB/s), but "
        "gang.preflight.minGigabytesPerSecond is 5: check the network of these nodes, lower that "
        "number, or set gang.preflight.policy to warn"
    )


@given(st.lists(st.floats(0.01, 100), min_size=1))
def test_the_slowest_pair(speeds: list[float]) -> None:
    pairs = [SlowestPair((f"a{i}", f"b{i}"), speed) for i, speed in enumerate(speeds)]
    found = preflight.slowest_pair(pairs)
    assert found is not None
    assert found.gigabytes_per_second == min(speeds)


def test_pairs_are_of_pods() -> None:
    assert list(preflight.pairs_of_pods(3, 6)) == [(0, 2), (0, 4), (2, 4)]


def test_gang_info_round_trips_as_an_argument() -> None:
    info = gang_info(2.5)
    assert GangInfo.read(info.write()) == info
    assert json.loads(info.write())["hosts"] == list(HOSTS)
    assert info.named(2) == "rank 2 on node-b"


def test_a_network_that_is_too_slow_ends_all_ranks(start_gang) -> None:
    fields = {"preflight": {"minGigabytesPerSecond": 1e6}}
    for rank in start_gang("meeting", 2, **fields):
        _, log = rank.communicate(timeout=60)
        assert rank.returncode == 5, log
        assert "the network between the pods is too slow: an all-reduce over 2 ranks" in log
        assert " GB/s over tcp, slowest between node-" in log
        assert "Traceback" not in log
