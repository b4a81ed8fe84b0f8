"""Network policies are enforced in the embedded cluster, for ingress and egress."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from hack.cluster.embedded import EmbeddedCluster
from hack.cluster.faults import ClusterError
from hack.cluster.reach import service_address
from hack.cluster.target import Target
from tests.support.e2e.probe_image import push_probe
from tests.support.e2e.probes import ask, policy, probe, service, wait_ready
from tests.support.kube import Kube, eventually, new_namespace

# The firewall takes minutes to build, once.
pytestmark = [pytest.mark.long, pytest.mark.cluster("mesh")]

SERVER, FRIEND, STRANGER = "server", "friend", "stranger"
# Seconds until a policy is enforced, on a busy machine.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def kube(cluster: Target) -> Iterator[Kube]:
    with new_namespace(cluster, "network-policy") as kube:
        image = push_probe(cluster)
        for pod in (SERVER, FRIEND, STRANGER):
            kube.apply(*probe(pod, image))
        kube.apply(service(SERVER, probe=SERVER))
        wait_ready(kube, SERVER, FRIEND, STRANGER)
        yield kube


@pytest.fixture(autouse=True)
def nothing_left(kube: Kube) -> Iterator[None]:
    yield
    kube.run("delete", "networkpolicy", "--all")


def reaches(kube: Kube, client: str) -> bool:
    (answer,) = ask(kube, client, f"http://{SERVER}")
    assert answer in (f"200 {SERVER}", "failed")
    return answer != "failed"


def test_default_deny_blocks_all_but_allowed_peers_until_it_is_deleted(
    kube: Kube,
) -> None:
    eventually("the Service works", lambda: reaches(kube, FRIEND), PATIENCE)
    assert reaches(kube, STRANGER)

    kube.apply(policy("deny", {}, policyTypes=["Ingress"]))
    eventually("the stranger is blocked", lambda: not reaches(kube, STRANGER), PATIENCE)
    eventually("the friend is blocked", lambda: not reaches(kube, FRIEND), PATIENCE)

    peers = {"podSelector": {"matchLabels": {"probe": FRIEND}}}
    ports = [{"port": 8080, "protocol": "TCP"}]
    allowed = policy("allow", {"probe": SERVER}, ingress=[{"from": [peers], "ports": ports}])
    kube.apply(allowed)
    eventually("the friend reaches the server", lambda: reaches(kube, FRIEND), PATIENCE)
    assert not reaches(kube, STRANGER)

    kube.run("delete", "networkpolicy", "--all")
    eventually("all clients reach the server", lambda: reaches(kube, STRANGER), PATIENCE)
    assert reaches(kube, FRIEND)


def test_a_port_that_a_policy_does_not_name_is_closed(kube: Kube) -> None:
    kube.apply(policy("port", {"probe": SERVER}, ingress=[{"ports": [{"port": 9999}]}]))
    eventually("port 8080 is closed", lambda: not reaches(kube, FRIEND), PATIENCE)


def test_denied_egress_blocks_the_client(kube: Kube) -> None:
    kube.apply(policy("closed", {"probe": STRANGER}, policyTypes=["Egress"]))
    eventually("the client is blocked", lambda: not reaches(kube, STRANGER), PATIENCE)
    assert reaches(kube, FRIEND)


def test_kubelet_probes_pass_despite_default_deny(kube: Kube) -> None:
    kube.apply(policy("deny", {}, policyTypes=["Ingress", "Egress"]))
    eventually("the server is blocked", lambda: not reaches(kube, FRIEND), PATIENCE)
    # The readiness probe runs every second; after three failures the pod would not be ready.
    with pytest.raises(ClusterError, match="timed out"):
        kube.run("wait", "--for=condition=Ready=False", f"pod/{SERVER}", "--timeout=8s")


def test_the_host_is_allowed_by_its_address(kube: Kube) -> None:
    assert isinstance(kube.target, EmbeddedCluster)
    eventually("the host reaches the server", lambda: host_reaches(kube), PATIENCE)
    kube.apply(policy("deny", {"probe": SERVER}, policyTypes=["Ingress"]))
    eventually("the host is blocked", lambda: not host_reaches(kube), PATIENCE)
    block = {"cidr": f"{kube.target.addresses.host}/32"}
    kube.apply(policy("host", {"probe": SERVER}, ingress=[{"from": [{"ipBlock": block}]}]))
    eventually("the host reaches the server again", lambda: host_reaches(kube), PATIENCE)


def host_reaches(kube: Kube) -> bool:
    with service_address(kube.target, SERVER, kube.namespace) as address:
        try:
            answer = httpx.get(f"http://{address}/", trust_env=False, timeout=5)
        except httpx.TransportError:
            return False
    return answer.text.strip() == SERVER
