"""Addresses of parallel clusters, and the NAT rule on the host."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest

from hack.cluster.machine.network import (
    SLOTS,
    Addresses,
    egress_rule,
    egress_rules,
    free,
    parse_routes,
)


def test_clusters_share_no_address() -> None:
    networks = [network for slot in range(SLOTS) for network in Addresses(slot).networks()]
    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))


def test_on_an_empty_machine_every_slot_is_free_and_the_first_is_first() -> None:
    assert [addresses.slot for addresses in free([])] == list(range(SLOTS))


@pytest.mark.parametrize(
    "route", ["10.91.0.0/24", "10.92.3.7/32", "10.93.0.0/20", "10.94.15.0/24", "10.92.0.0/21"]
)
def test_a_route_into_any_network_of_a_slot_takes_the_slot(route: str) -> None:
    assert free([IPv4Network(route)])[0].slot == 1


def test_a_wide_route_takes_all_slots() -> None:
    assert free([IPv4Network("10.0.0.0/8")]) == []


def test_default_routes_take_nothing() -> None:
    text = """[{"dst": "default", "gateway": "192.0.2.1"}, {"dst": "192.0.2.2", "type": "local"},
              {"dst": "10.91.0.0/24", "dev": "dso0"}]"""
    assert parse_routes(text) == [IPv4Network("192.0.2.2/32"), IPv4Network("10.91.0.0/24")]


def test_no_output_is_no_route() -> None:
    assert parse_routes("") == []


def test_our_rule_is_found_again_among_others() -> None:
    rule = egress_rule(Addresses(2))
    listing = "\n".join(
        [
            "-P POSTROUTING ACCEPT",
            "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
            '-A POSTROUTING -s 10.91.2.0/24 ! -d 10.91.2.0/24 -m comment --comment "'
            'deepseek-operator" -j MASQUERADE',
        ]
    )
    assert egress_rules(listing) == [["POSTROUTING", *rule]]
