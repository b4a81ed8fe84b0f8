"""Network policies of the embedded cluster are enforced, both ways and in both directions."""

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
# From a policy in the API until it is enforced, on a busy machine.
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


def test_default_deny_refuses_an_allowed_peer_gets_through_and_without_policies_all_is_open(
    kube: Kube,
) -> None:
    eventually("the Service works", lambda: reaches(kube, FRIEND), PATIENCE)
    assert reaches(kube, STRANGER)

    kube.apply(policy("deny", {}, policyTypes=["Ingress"]))
    eventually("the stranger is refused", lambda: not reaches(kube, STRANGER), PATIENCE)
    eventually("the friend is refused", lambda: not reaches(kube, FRIEND), PATIENCE)

    peers = {"podSelector": {"matchLabels": {"probe": FRIEND}}}
    ports = [{"port": 8080, "protocol": "TCP"}]
    allowed = policy("allow", {"probe": SERVER}, ingress=[{"from": [peers], "ports": ports}])
    kube.apply(allowed)
    eventually("the friend gets through", lambda: reaches(kube, FRIEND), PATIENCE)
    assert not reaches(kube, STRANGER)

    kube.run("delete", "networkpolicy", "--all")
    eventually("all is open again", lambda: reaches(kube, STRANGER), PATIENCE)
    assert reaches(kube, FRIEND)


def test_a_port_that_a_policy_does_not_name_is_closed(kube: Kube) -> None:
    kube.apply(policy("port", {"probe": SERVER}, ingress=[{"ports": [{"port": 9999}]}]))
    eventually("port 8080 is closed", lambda: not reaches(kube, FRIEND), PATIENCE)


def test_a_client_whose_egress_is_denied_reaches_nobody(kube: Kube) -> None:
    kube.apply(policy("closed", {"probe": STRANGER}, policyTypes=["Egress"]))
    eventually("the client is cut off", lambda: not reaches(kube, STRANGER), PATIENCE)
    assert reaches(kube, FRIEND)


def test_the_kubelets_probe_passes_where_all_is_denied(kube: Kube) -> None:
    kube.apply(policy("deny", {}, policyTypes=["Ingress", "Egress"]))
    eventually("the server is closed", lambda: not reaches(kube, FRIEND), PATIENCE)
    # The readiness probe asks every second, and after three failures the pod is not ready.
    with pytest.raises(ClusterError, match="timed out"):
        kube.run("wait", "--for=condition=Ready=False", f"pod/{SERVER}", "--timeout=8s")


def test_this_machine_is_let_in_by_its_address(kube: Kube) -> None:
    assert isinstance(kube.target, EmbeddedCluster)
    eventually("the host gets through", lambda: host_reaches(kube), PATIENCE)
    kube.apply(policy("deny", {"probe": SERVER}, policyTypes=["Ingress"]))
    eventually("the host is refused", lambda: not host_reaches(kube), PATIENCE)
    block = {"cidr": f"{kube.target.addresses.host}/32"}
    kube.apply(policy("host", {"probe": SERVER}, ingress=[{"from": [{"ipBlock": block}]}]))
    eventually("the host gets through again", lambda: host_reaches(kube), PATIENCE)


def host_reaches(kube: Kube) -> bool:
    with service_address(kube.target, SERVER, kube.namespace) as address:
        try:
            answer = httpx.get(f"http://{address}/", trust_env=False, timeout=5)
        except httpx.TransportError:
            return False
    return answer.text.strip() == SERVER
