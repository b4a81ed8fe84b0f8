"""Addresses of a cluster, and the link between it and the host.

A cluster has its own network namespace. A veth pair connects it to the host, and routes over it let
the host reach pods and Services by their addresses. Both disappear with the namespace, that is, with
the cluster's last process.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hack.cluster.faults import ClusterError

SLOTS = 16
# Below the usual 1500, so that packets also fit if the host itself is behind a tunnel.
MTU = 1400
EGRESS_COMMENT = "deepseek-operator"


@dataclass(frozen=True)
class Addresses:
    """The networks of one cluster; `slot` numbers the clusters of a machine from 0."""

    slot: int

    @property
    def link(self) -> IPv4Network:
        """Network between host and cluster."""
        return IPv4Network(f"10.91.{self.slot}.0/24")

    @property
    def pods(self) -> IPv4Network:
        """Network of the real node's pods."""
        return IPv4Network(f"10.92.{16 * self.slot}.0/20")

    @property
    def services(self) -> IPv4Network:
        """Network of Services."""
        return IPv4Network(f"10.93.{16 * self.slot}.0/20")

    @property
    def fake_pods(self) -> IPv4Network:
        """Network of the pods on kwok's nodes; its addresses do not answer."""
        return IPv4Network(f"10.94.{16 * self.slot}.0/20")

    @property
    def host(self) -> IPv4Address:
        """Address of the host's end of the link."""
        return self.link[1]

    @property
    def cluster(self) -> IPv4Address:
        """Address of the cluster's end of the link, of API server, registry and node."""
        return self.link[2]

    @property
    def api_service(self) -> IPv4Address:
        """Address of the Service `kubernetes`."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """Address of the Service `kube-dns`."""
        return self.services[10]

    @property
    def host_link_name(self) -> str:
        """Name of the network interface on the host."""
        return f"dso{self.slot}"

    def networks(self) -> tuple[IPv4Network, ...]:
        """Return all networks that must be free on the host."""
        return (self.link, self.pods, self.services, self.fake_pods)


def free(routes: Iterable[IPv4Network]) -> list[Addresses]:
    """Return the slots whose networks do not overlap any route of the host, lowest first."""
    taken = list(routes)
    return [
        addresses
        for addresses in map(Addresses, range(SLOTS))
        if not any(network.overlaps(route) for network in addresses.networks() for route in taken)
    ]


def parse_routes(text: str) -> list[IPv4Network]:
    """Return the networks of `ip -json route`, without default routes."""
    entries: list[dict[str, Any]] = json.loads(text or "[]")
    return [IPv4Network(entry["dst"]) for entry in entries if entry["dst"] != "default"]


class HostNetwork:
    """The host's network namespace, accessed from inside the cluster's."""

    def __init__(self, namespace: int) -> None:
        """Use an open file descriptor of the host's network namespace."""
        self._namespace = namespace

    def connect(self) -> Addresses:
        """Connect the current namespace to the host with routes in both directions.

        Returns:
            The addresses of this cluster.

        Raises:
            ClusterError: no free addresses, or the kernel refused.
        """
        routes = parse_routes(self._host("ip", "-json", "-4", "route", "show", "table", "all"))
        for addresses in free(routes):
            if self._take(addresses):
                self._address(addresses)
                return addresses
        raise ClusterError(
            "no free addresses for a cluster: every network 10.91.N.0/24, 10.92.N.0/20, "
            f"10.93.N.0/20, 10.94.N.0/20 of {SLOTS} is in use on this machine (`ip route`)"
        )

    def open_egress(self, addresses: Addresses) -> bool:
        """Let the cluster reach the host's networks by one NAT rule on the host.

        Returns:
            Whether the host forwarded packets before; the argument of `close_egress`.
        """
        forwarded = self._host("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
        self._host("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", *egress_rule(addresses))
        self._host("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        return forwarded

    def _take(self, addresses: Addresses) -> bool:
        """Create the pair; its name on the host reserves the slot."""
        peer = ["peer", "name", addresses.host_link_name, "netns", self._path]
        result = self._run(
            "ip", "link", "add", "eth0", "mtu", str(MTU), "type", "veth", *peer, "mtu", str(MTU)
        )
        if result.returncode != 0 and "File exists" not in result.stderr:
            raise ClusterError(f"cannot create a network link (veth): {result.stderr.strip()}")
        return result.returncode == 0

    def _address(self, addresses: Addresses) -> None:
        link = addresses.host_link_name
        self._host("ip", "address", "add", f"{addresses.host}/24", "dev", link)
        self._host("ip", "link", "set", link, "up")
        self._checked("ip", "link", "set", "lo", "up")
        self._checked("ip", "address", "add", f"{addresses.cluster}/24", "dev", "eth0")
        self._checked("ip", "link", "set", "eth0", "up")
        self._checked("ip", "route", "add", "default", "via", str(addresses.host))
        for network in (addresses.pods, addresses.services):
            self._host("ip", "route", "add", str(network), "via", str(addresses.cluster))

    @property
    def _path(self) -> str:
        return f"/proc/self/fd/{self._namespace}"

    def _host(self, *command: str) -> str:
        return self._checked("nsenter", f"--net={self._path}", *command)

    def _checked(self, *command: str) -> str:
        result = self._run(*command)
        if result.returncode != 0:
            raise ClusterError(
                f"setting up the network failed at `{' '.join(command)}`: {result.stderr.strip()}"
            )
        return result.stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, pass_fds=(self._namespace,))


def egress_rule(addresses: Addresses) -> list[str]:
    """Return the NAT rule as iptables arguments, with a comment by which `down` finds it."""
    source = ["-s", str(addresses.link), "!", "-d", str(addresses.link)]
    return [*source, "-m", "comment", "--comment", EGRESS_COMMENT, "-j", "MASQUERADE"]


def egress_rules(listing: str) -> list[list[str]]:
    """Return our rules in `iptables -t nat -S POSTROUTING`, as arguments for -D."""
    rules = [line.replace('"', "").split() for line in listing.splitlines()]
    return [rule[1:] for rule in rules if EGRESS_COMMENT in rule and rule[0] == "-A"]


def close_egress(slot: int, *, stop_forwarding: bool) -> None:
    """Remove a cluster's NAT rule; runs in the host's network namespace.

    Args:
        slot: slot of the cluster.
        stop_forwarding: whether the host did not forward packets before the cluster started.
    """
    rules = _own_rules()
    link = str(Addresses(slot).link)
    for rule in rules:
        if link in rule:
            subprocess.run(["iptables", "-w", "-t", "nat", "-D", *rule], check=False)
    if stop_forwarding and all(link in rule for rule in rules):
        subprocess.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"], check=False)


def _own_rules() -> list[list[str]]:
    listing = subprocess.run(
        ["iptables", "-w", "-t", "nat", "-S", "POSTROUTING"], capture_output=True, text=True
    )
    return egress_rules(listing.stdout)
